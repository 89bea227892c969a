//! Why a chain refuses a command.

use super::decide::{REASON_CHARS_MAX, SYMBOL_BYTES_MAX};
use crate::money::{AssetId, MAX_DECIMALS};
use crate::{ChainName, Timestamp};

/// Why a chain refuses a command. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// It was added before.
    #[error("{chain} was added already, at {}", at.format("%Y-%m-%d %H:%M:%S UTC"))]
    AlreadyAdded {
        /// The chain.
        chain: ChainName,
        /// When.
        at: Timestamp,
    },
    /// Tokens were added to it before, so the configuration has had it.
    #[error("{chain} is accepted already, by the configuration: tokens were added to it")]
    AlreadyConfigured {
        /// The chain.
        chain: ChainName,
    },
    /// Nothing tells it from other chains of its family, or too much does.
    #[error("{chain} is known by a chain id if it is an EVM chain, and by a genesis hash if not")]
    Identity {
        /// The chain.
        chain: ChainName,
    },
    /// The first asset is not the native coin, or a later one is.
    #[error("{chain} accepts its native coin first, then tokens")]
    NoNative {
        /// The chain.
        chain: ChainName,
    },
    /// An asset stands there twice.
    #[error("{asset} stands there twice")]
    Twice {
        /// The asset.
        asset: AssetId,
    },
    /// Payments that ask for no confirmation.
    #[error("payments ask for at least one confirmation")]
    NoConfirmation,
    /// The asset's id names another chain, or no token at all.
    #[error("{asset} is no token of {chain}")]
    NotAToken {
        /// The chain.
        chain: ChainName,
        /// What was to be added, or paused.
        asset: AssetId,
    },
    /// The token is accepted already and called otherwise.
    #[error("{asset} is accepted as {symbol} already: a token has one symbol")]
    OtherSymbol {
        /// The token.
        asset: AssetId,
        /// What it is called.
        symbol: String,
    },
    /// The token is accepted already with other decimals.
    #[error("{asset} is accepted with {decimals} decimals already, which amounts in the ledger rely on")]
    OtherDecimals {
        /// The token.
        asset: AssetId,
        /// Its decimals.
        decimals: u8,
    },
    /// The least deposit is an amount of another asset.
    #[error("the least deposit of {asset} is an amount of {asset}")]
    MinDepositOfOther {
        /// The token.
        asset: AssetId,
    },
    /// The token is accepted already, and what counts of it is not changed by adding it again.
    #[error(
        "{asset} is accepted already, with another `min_deposit` or by the configuration: name the token in the chain's \
         table with the `min_deposit` that is to hold from the next start on"
    )]
    MinDepositStays {
        /// The token.
        asset: AssetId,
    },
    /// Another asset of the chain has the symbol.
    #[error("{symbol} is {holder} on this chain: a symbol names one asset")]
    SymbolTaken {
        /// The symbol.
        symbol: String,
        /// What it names.
        holder: AssetId,
    },
    /// The symbol cannot be one.
    #[error("a symbol has 1 to {SYMBOL_BYTES_MAX} printable ASCII characters, got {symbol:?}")]
    Symbol {
        /// What was given.
        symbol: String,
    },
    /// More decimals than amounts can have.
    #[error("a token has at most {MAX_DECIMALS} decimals, got {decimals}")]
    Decimals {
        /// What was given.
        decimals: u8,
    },
    /// The reason says nothing, too much, or holds control characters.
    #[error("a reason has 1 to {REASON_CHARS_MAX} printable characters")]
    Reason,
}
