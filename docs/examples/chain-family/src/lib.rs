//! A chain of a made-up family, for those who want to add a real one: a ledger that is kept in a JSON file.
//!
//! The engine asks a [`ChainSource`] four things: the head, a block's header, its transfers, and which of them took place.
//! Everything else (the cursor, reorganizations, deposits, reports, crashes, several watchers) is the engine's. A source
//! only has to tell the truth about one moment: it may fail at any time, and is asked again, but must never mix two
//! chains in one answer or call a block empty that it could not read.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use wopay_chain_watchers::{
    BlockData, BlockHeader, Candidate, ChainSource, ConfigError, Final, Head, Place, SourceError, Transfer,
    WatcherConfig,
};
use wopay_domain::{AssetId, BlockRef, DepositLeg, Timestamp};

/// What the file holds: every block, the first one first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerFile {
    /// The height of block `n` is `n`.
    pub blocks: Vec<FileBlock>,
}

/// A block of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileBlock {
    /// Distinct for every block that ever was; another block at the same height has another one.
    pub hash: String,
    /// When it was made.
    pub time: Timestamp,
    /// What moved in it.
    pub transfers: Vec<FileTransfer>,
}

/// A transfer of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTransfer {
    /// Distinct for every transfer. The same after it moved to another block: that is how a deposit stays itself.
    pub id: String,
    /// Who gets it: `0x` and 40 lower-case hex digits here, as the family has the EVM's addresses.
    pub to: String,
    /// `native`, or what identifies a token.
    pub asset: String,
    /// Minor units.
    pub minor: u64,
}

/// Reads a chain from a file, anew for every question: whoever writes it may replace it at any time.
pub struct FileSource {
    path: PathBuf,
    /// What is watched, by what the file calls it.
    assets: Vec<(String, AssetId)>,
}

impl FileSource {
    /// A source that looks for the assets of this configuration.
    #[must_use]
    pub fn new(path: PathBuf, config: &WatcherConfig) -> Self {
        let named = |id: &AssetId| id.contract().unwrap_or("native").to_owned();
        Self { path, assets: config.chain.assets.iter().map(|asset| (named(&asset.id), asset.id.clone())).collect() }
    }

    /// Makes sources of this file, for `ChainWatcher::with_sources`: the engine asks for another one when a token is added.
    pub fn of_file(
        path: PathBuf,
    ) -> impl Fn(&WatcherConfig) -> Result<Arc<dyn ChainSource>, ConfigError> + Send + Sync + 'static {
        move |config| Ok(Arc::new(Self::new(path.clone(), config)))
    }

    /// One state of the file; all that one answer says comes from one of them.
    async fn read(&self) -> Result<LedgerFile, SourceError> {
        let text = tokio::fs::read(&self.path).await.map_err(|error| SourceError::Unavailable(error.into()))?;
        // Half a file is no chain: it is asked again, and nothing is concluded from it.
        serde_json::from_slice(&text).map_err(|error| SourceError::Unavailable(error.into()))
    }
}

impl LedgerFile {
    fn header(&self, height: u64) -> Option<BlockHeader> {
        let block = self.block(height)?;
        let parent = height.checked_sub(1).and_then(|below| self.block(below));
        Some(BlockHeader {
            block: BlockRef { number: height, hash: block.hash.clone(), time: block.time },
            parent_hash: parent.map_or_else(|| "none".to_owned(), |parent| parent.hash.clone()),
        })
    }

    fn block(&self, height: u64) -> Option<&FileBlock> {
        self.blocks.get(usize::try_from(height).ok()?)
    }
}

/// Nothing to talk to; what is wrong is in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotThere(&'static str);

#[async_trait]
impl ChainSource for FileSource {
    /// The newest block. The file says nothing of finality, so depth decides; a family that has its own says
    /// [`Final::UpTo`].
    async fn head(&self) -> Result<Head, SourceError> {
        let file = self.read().await?;
        let newest = u64::try_from(file.blocks.len()).ok().and_then(|count| file.header(count.checked_sub(1)?));
        let newest = newest.ok_or_else(|| SourceError::Unavailable(NotThere("the file has no block").into()))?;
        Ok(Head { newest, finality: Final::ByDepth })
    }

    async fn header(&self, height: u64) -> Result<Option<BlockHeader>, SourceError> {
        Ok(self.read().await?.header(height))
    }

    /// Header and transfers from the same state of the file, to whomever they go: the engine knows who is ours.
    async fn block(&self, height: u64) -> Result<Option<BlockData>, SourceError> {
        let file = self.read().await?;
        let (Some(header), Some(block)) = (file.header(height), file.block(height)) else { return Ok(None) };
        let candidates = block.transfers.iter().filter(|transfer| transfer.minor > 0).filter_map(|transfer| {
            let (_, asset) = self.assets.iter().find(|(name, _)| *name == transfer.asset)?;
            Some(Candidate {
                transaction: transfer.id.clone(),
                // It took place, being in the file, and there is one movement in it.
                place: Place::Settled(DepositLeg::Native),
                to: transfer.to.clone(),
                from: None,
                asset: asset.clone(),
                minor: Some(u128::from(transfer.minor)),
            })
        });
        let candidates = candidates.collect();
        Ok(Some(BlockData { header, candidates }))
    }

    /// Asked for the candidates that are ours, by the block's hash. Where failed transfers are in blocks too, this is where
    /// they are left out.
    async fn settle(&self, block: &BlockRef, candidates: &[Candidate]) -> Result<Vec<Transfer>, SourceError> {
        let file = self.read().await?;
        if file.block(block.number).is_none_or(|known| known.hash != block.hash) {
            return Err(SourceError::Unavailable(NotThere("the block is another one by now").into()));
        }
        Ok(candidates.iter().filter_map(Candidate::settled).collect())
    }
}
