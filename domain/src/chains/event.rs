//! What has happened to a chain. These shapes are kept for ever: a change is a new version and an upcaster.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use crate::money::{Asset, AssetId, Money};
use crate::{ChainFamily, ChainName, Timestamp, upcast};

/// An event of one chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChainEvent {
    /// It is accepted from now on.
    ChainAdded(ChainAdded),
    /// It takes no new payments.
    ChainPaused(ChainPaused),
    /// It takes new payments again.
    ChainResumed(ChainResumed),
    /// It accepts one more token.
    TokenAdded(TokenAdded),
    /// One of its assets takes no new payments.
    TokenPaused(TokenPaused),
    /// The asset takes new payments again.
    TokenResumed(TokenResumed),
}

/// See [`ChainEvent::ChainAdded`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainAdded {
    /// Which chain.
    pub chain: ChainName,
    /// Its family.
    pub family: ChainFamily,
    /// EIP-155 chain id, of an EVM chain.
    pub chain_id: Option<u64>,
    /// Its genesis hash, of a chain without a chain id.
    pub genesis_hash: Option<String>,
    /// What it accepts, the native coin first.
    pub assets: Vec<Asset>,
    /// Confirmations that new payments ask for.
    pub required_confirmations: u32,
    /// Why, if the operator said so.
    pub reason: Option<String>,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`ChainEvent::ChainPaused`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainPaused {
    /// Which chain.
    pub chain: ChainName,
    /// Why. Merchants see it.
    pub reason: String,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`ChainEvent::ChainResumed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainResumed {
    /// Which chain.
    pub chain: ChainName,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`ChainEvent::TokenAdded`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenAdded {
    /// Which chain.
    pub chain: ChainName,
    /// The token, with its contract or mint in its id.
    pub token: Asset,
    /// Since 1.1: the least of it that is no dust; left out where everything counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_deposit: Option<Money>,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`ChainEvent::TokenPaused`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenPaused {
    /// Which chain.
    pub chain: ChainName,
    /// Which asset: a token, or the native coin.
    pub asset: AssetId,
    /// Why. Merchants see it.
    pub reason: String,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`ChainEvent::TokenResumed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenResumed {
    /// Which chain.
    pub chain: ChainName,
    /// Which asset.
    pub asset: AssetId,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

impl ChainEvent {
    /// The event's name in storage and subjects.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ChainAdded(_) => "ChainAdded",
            Self::ChainPaused(_) => "ChainPaused",
            Self::ChainResumed(_) => "ChainResumed",
            Self::TokenAdded(_) => "TokenAdded",
            Self::TokenPaused(_) => "TokenPaused",
            Self::TokenResumed(_) => "TokenResumed",
        }
    }

    /// When it happened.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::ChainAdded(event) => event.at,
            Self::ChainPaused(event) => event.at,
            Self::ChainResumed(event) => event.at,
            Self::TokenAdded(event) => event.at,
            Self::TokenPaused(event) => event.at,
            Self::TokenResumed(event) => event.at,
        }
    }
}

impl DomainEvent for ChainEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        upcast::current_version(self.name()).to_owned()
    }
}
