//! What addresses hold, as the chain says: the other side of a reconciliation with the books.
//!
//! On EVM chains a [`BalanceReader`] is bound to one block by its hash (EIP-1898), so that every balance is of the same
//! state whichever node answers. Nodes that do not know the form are asked by number, and the block's hash is compared
//! before and after. Solana's nodes answer for their newest slot alone: there every balance is of the slot that its answer
//! names, the reader's block or a later one. Balances are read in batches; nothing is kept.

use std::str::FromStr;

use wopay_domain::{AssetId, BlockRef, ChainFamily, ChainName};

use crate::config::{ConfigError, WatcherConfig};
use crate::evm::EvmBalances;
use crate::solana::SolanaBalances;
use crate::source::SourceError;

/// Reads balances of one chain.
#[derive(Debug)]
pub struct BalanceReader(Reader);

#[derive(Debug)]
enum Reader {
    Evm(Box<EvmBalances>),
    Solana(Box<SolanaBalances>),
}

/// Of which block balances are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalanceBlock {
    /// Of the one at this height. Not on Solana.
    Height(u64),
    /// Of the newest that the chain will not take back, by its finality setting.
    Finalized,
    /// Of the newest; on Solana of the newest confirmed one.
    Latest,
}

/// A text that names no block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a block is a height, `finalized` or `latest`, got {0:?}")]
pub struct BalanceBlockError(String);

impl FromStr for BalanceBlock {
    type Err = BalanceBlockError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "finalized" => Ok(Self::Finalized),
            "latest" => Ok(Self::Latest),
            height => height.parse().map(Self::Height).map_err(|_| BalanceBlockError(text.to_owned())),
        }
    }
}

/// What an account holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Minor units.
    pub minor: u128,
    /// The height of the block with which it held that.
    pub height: u64,
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
    /// The chain's nodes tell of the present only.
    #[error("nodes of {chain} do not tell what was held at a past block: take `finalized` or `latest`")]
    NoPast {
        /// The chain.
        chain: ChainName,
    },
    /// No block is final yet, or the node does not say which.
    #[error("no block of {chain} is final yet")]
    NothingFinal {
        /// The chain.
        chain: ChainName,
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
    /// Binds a reader to a block that is canonical now.
    ///
    /// # Errors
    /// When there is no such block, the configuration cannot be used, or no endpoint answers.
    pub async fn at(config: &WatcherConfig, block: BalanceBlock) -> Result<Self, BalanceError> {
        config.validate()?;
        Ok(Self(match config.chain.family {
            ChainFamily::Evm => Reader::Evm(Box::new(EvmBalances::at(config, block).await?)),
            ChainFamily::Solana => Reader::Solana(Box::new(SolanaBalances::at(config, block).await?)),
        }))
    }

    /// The block. Balances of a reader that is not [pinned](Self::is_pinned) are of this one or of later ones.
    #[must_use]
    pub const fn block(&self) -> &BlockRef {
        match &self.0 {
            Reader::Evm(chain) => chain.block(),
            Reader::Solana(chain) => chain.block(),
        }
    }

    /// Whether all balances are of this one block.
    #[must_use]
    pub const fn is_pinned(&self) -> bool {
        match &self.0 {
            Reader::Evm(_) => true,
            Reader::Solana(_) => false,
        }
    }

    /// What these accounts hold, in the order asked. Assets need not be configured; a token whose contract did not exist
    /// at the block is held by nobody. On Solana a token is what all accounts together hold that this address owns.
    ///
    /// # Errors
    /// When an account is none of this chain, the state is gone or replaced, or no endpoint answers.
    pub async fn read(&self, accounts: &[(&str, &AssetId)]) -> Result<Vec<Balance>, BalanceError> {
        match &self.0 {
            Reader::Evm(chain) => {
                let height = chain.block().number;
                let amounts = chain.read(accounts).await?;
                Ok(amounts.into_iter().map(|minor| Balance { minor, height }).collect())
            }
            Reader::Solana(chain) => chain.read(accounts).await,
        }
    }

    /// Makes sure that the block is still canonical: to be called when everything has been read.
    ///
    /// # Errors
    /// [`BalanceError::Replaced`] when it is not; others when no endpoint answers.
    pub async fn check_canonical(&self) -> Result<(), BalanceError> {
        match &self.0 {
            Reader::Evm(chain) => chain.check_canonical().await,
            Reader::Solana(chain) => chain.check_canonical().await,
        }
    }
}
