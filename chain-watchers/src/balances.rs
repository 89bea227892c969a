//! What addresses hold at one block, as the chain says: the other side of a reconciliation with the books.
//!
//! A [`BalanceReader`] is bound to one block by its hash (EIP-1898), so that every balance is of the same state whichever
//! node answers. Nodes that do not know the form are asked by number, and the block's hash is compared before and after.
//! Balances are read in batches; nothing is kept.

use wopay_domain::{AssetId, BlockRef, ChainFamily, ChainName};

use crate::config::{ConfigError, WatcherConfig};
use crate::evm::EvmBalances;
use crate::source::SourceError;

/// Reads balances at one block of one chain.
#[derive(Debug)]
pub struct BalanceReader {
    chain: EvmBalances,
}

/// Why balances cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BalanceError {
    /// The chain's configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The chain has not come so far.
    #[error("chain {chain} has no block {block}: its newest is {newest}")]
    NoSuchBlock {
        /// The chain.
        chain: ChainName,
        /// The height asked for.
        block: u64,
        /// The height of the newest block.
        newest: u64,
    },
    /// The nodes have forgotten the state of that block.
    #[error(
        "no endpoint of {chain} has the state of block {block} any more: balances that far back need an archive node \
         (one says: {said})"
    )]
    Pruned {
        /// The chain.
        chain: ChainName,
        /// The block's height.
        block: u64,
        /// The node's own words.
        said: String,
    },
    /// The block was replaced while balances were read.
    #[error("block {block} of {chain} was replaced by a reorganization: take an older block")]
    Replaced {
        /// The chain.
        chain: ChainName,
        /// The block's height.
        block: u64,
    },
    /// A text that is no address of the chain, or an asset that is not of it.
    #[error("{address:?} with {asset} is no account of chain {chain}")]
    NotAnAccount {
        /// The chain.
        chain: ChainName,
        /// The address given.
        address: String,
        /// The asset given.
        asset: AssetId,
    },
    /// More minor units than 128 bits count, which no real asset has.
    #[error("{address} holds more of {asset} than can be counted")]
    TooMuch {
        /// The address.
        address: String,
        /// The asset.
        asset: AssetId,
    },
    /// The chain cannot be asked.
    #[error(transparent)]
    Chain(#[from] SourceError),
}

impl BalanceReader {
    /// Binds a reader to the block that is canonical at this height now.
    ///
    /// # Errors
    /// When there is no such block, the configuration cannot be used, or no endpoint answers.
    pub async fn at(config: &WatcherConfig, height: u64) -> Result<Self, BalanceError> {
        config.validate()?;
        match config.chain.family {
            ChainFamily::Evm => Ok(Self { chain: EvmBalances::at(config, height).await? }),
            ChainFamily::Solana => {
                let (chain, family) = (config.chain.name.clone(), config.chain.family);
                Err(ConfigError::NoPastBalances { chain, family }.into())
            }
        }
    }

    /// The block.
    #[must_use]
    pub const fn block(&self) -> &BlockRef {
        self.chain.block()
    }

    /// What these accounts hold, in minor units, in the order asked. Assets need not be configured; a token whose contract
    /// did not exist at the block is held by nobody.
    ///
    /// # Errors
    /// When an account is none of this chain, the state is gone or replaced, or no endpoint answers.
    pub async fn read(&self, accounts: &[(&str, &AssetId)]) -> Result<Vec<u128>, BalanceError> {
        self.chain.read(accounts).await
    }

    /// Makes sure that the block is still canonical: to be called when everything has been read.
    ///
    /// # Errors
    /// [`BalanceError::Replaced`] when it is not; others when no endpoint answers.
    pub async fn check_canonical(&self) -> Result<(), BalanceError> {
        self.chain.check_canonical().await
    }
}
