//! The state that a chain's events fold into.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::AcceptedChain;
use crate::Timestamp;
use crate::money::{Asset, AssetId, Money};

/// What was changed of a chain since the configuration. One without events is as the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Set once it was added while the gateway ran; a chain that only the configuration has was never added.
    #[serde(default)]
    pub accepted: Option<AcceptedChain>,
    /// Set while it takes no new payments.
    pub paused: Option<Pause>,
    /// Tokens that were added by themselves, oldest first.
    pub added: Vec<AddedToken>,
    /// Assets that take no new payments, of the configuration and added ones.
    pub paused_assets: BTreeMap<AssetId, Pause>,
}

/// Why and since when there are no new payments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Why. Merchants see it.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// A token that was added while the gateway ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedToken {
    /// The token.
    pub token: Asset,
    /// The least of it that is no dust, unless the configuration names the token by now; `None`: everything counts.
    #[serde(default)]
    pub min_deposit: Option<Money>,
    /// When it was added.
    pub at: Timestamp,
}
