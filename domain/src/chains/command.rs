//! What can be asked of a chain. Commands carry the time, and what the configuration says where that decides.

use crate::money::{Asset, AssetId};
use crate::{ChainName, Timestamp};

/// A command to one chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainCommand {
    /// Accept one more token.
    AddToken(AddToken),
    /// Take no new payments on the chain.
    Pause {
        /// The chain.
        chain: ChainName,
        /// Why, for merchants and the ledger.
        reason: String,
        /// Now.
        at: Timestamp,
    },
    /// Take new payments on the chain again.
    Resume {
        /// The chain.
        chain: ChainName,
        /// Now.
        at: Timestamp,
    },
    /// Take no new payments in one asset, be it a token or the native coin.
    PauseToken {
        /// The chain.
        chain: ChainName,
        /// Which, of those that the chain accepts.
        asset: AssetId,
        /// Why, for merchants and the ledger.
        reason: String,
        /// Now.
        at: Timestamp,
    },
    /// Take new payments in the asset again.
    ResumeToken {
        /// The chain.
        chain: ChainName,
        /// Which.
        asset: AssetId,
        /// Now.
        at: Timestamp,
    },
}

impl ChainCommand {
    /// The chain that it is for.
    #[must_use]
    pub const fn chain(&self) -> &ChainName {
        match self {
            Self::AddToken(add) => &add.chain,
            Self::Pause { chain, .. }
            | Self::Resume { chain, .. }
            | Self::PauseToken { chain, .. }
            | Self::ResumeToken { chain, .. } => chain,
        }
    }
}

/// Accepts one more token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddToken {
    /// The chain.
    pub chain: ChainName,
    /// The token; its id has the contract or mint in canonical form.
    pub token: Asset,
    /// What the chain accepts by the configuration, which is in no event.
    pub configured: Vec<Asset>,
    /// Now.
    pub at: Timestamp,
}
