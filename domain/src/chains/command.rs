//! What can be asked of a chain. Commands carry the time, and what the configuration says where that decides.

use crate::money::{Asset, AssetId, Money};
use crate::{ChainFamily, ChainName, Timestamp};

/// A command to one chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainCommand {
    /// Accept one more chain.
    Add(AddChain),
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
            Self::Add(add) => &add.chain,
            Self::AddToken(add) => &add.chain,
            Self::Pause { chain, .. }
            | Self::Resume { chain, .. }
            | Self::PauseToken { chain, .. }
            | Self::ResumeToken { chain, .. } => chain,
        }
    }
}

/// Accepts one more chain, as the configuration has it by now and its endpoints confirm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddChain {
    /// Its name.
    pub chain: ChainName,
    /// Its family.
    pub family: ChainFamily,
    /// EIP-155 chain id, of an EVM chain and no other.
    pub chain_id: Option<u64>,
    /// The genesis hash, of a chain without a chain id.
    pub genesis_hash: Option<String>,
    /// The native coin first, then the tokens.
    pub assets: Vec<Asset>,
    /// Confirmations that new payments ask for. At least 1.
    pub required_confirmations: u32,
    /// Why, for the ledger.
    pub reason: Option<String>,
    /// Now.
    pub at: Timestamp,
}

/// Accepts one more token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddToken {
    /// The chain.
    pub chain: ChainName,
    /// The token; its id has the contract or mint in canonical form.
    pub token: Asset,
    /// The least of it that is no dust; `None`: everything counts, or a token that is accepted already stays as it is.
    pub min_deposit: Option<Money>,
    /// What the chain accepts by the configuration, which is in no event.
    pub configured: Vec<Asset>,
    /// Now.
    pub at: Timestamp,
}
