//! Why a chain refuses a command.

use super::decide::{REASON_CHARS_MAX, SYMBOL_BYTES_MAX};
use crate::ChainName;
use crate::money::{AssetId, MAX_DECIMALS};

/// Why a chain refuses a command. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
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
