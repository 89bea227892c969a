//! What the engine needs to know of a chain, whatever its family.

use std::time::Duration;

use async_trait::async_trait;
use wopay_domain::{AssetId, BlockRef, DepositLeg};

use crate::status::EndpointHealth;

/// A block and its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// The block.
    pub block: BlockRef,
    /// Hash of the block that it stands on.
    pub parent_hash: String,
}

/// The end of the chain as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The newest block.
    pub newest: BlockHeader,
    /// Which blocks are final enough for deposits to be confirmed, besides being deep enough.
    pub finality: Final,
}

/// Which blocks a chain will not take back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Final {
    /// The chain is not asked: depth alone decides.
    ByDepth,
    /// Those up to this height.
    UpTo(u64),
    /// The node names none: nothing more becomes final for now.
    Unknown,
}

/// A block with everything in it that may be money for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockData {
    /// The block.
    pub header: BlockHeader,
    /// Its transfers of accepted assets, to anybody, none of them of zero. They may have failed.
    pub candidates: Vec<Candidate>,
}

/// A transfer that the chain names; whether it took place is not settled yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Transaction hash in canonical text form.
    pub transaction: String,
    /// Where inside the block.
    pub place: Place,
    /// Receiving address in canonical text form.
    pub to: String,
    /// Sending address in canonical text form.
    pub from: Option<String>,
    /// What.
    pub asset: AssetId,
    /// Minor units. `None`: more than 2^128, which no real asset has.
    pub minor: Option<u128>,
}

impl Candidate {
    /// What took place, if the chain says so at once ([`Place::Settled`]) and the amount is one that there can be.
    #[must_use]
    pub fn settled(&self) -> Option<Transfer> {
        let Place::Settled(leg) = &self.place else { return None };
        Some(Transfer {
            transaction: self.transaction.clone(),
            leg: leg.clone(),
            to: self.to.clone(),
            from: self.from.clone(),
            asset: self.asset.clone(),
            minor: self.minor?,
        })
    }
}

/// Where a candidate stands in its block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The value of a transaction.
    Value,
    /// A log, by its index in the block.
    Log(u64),
    /// The chain says at once that it took place, and as which movement.
    Settled(DepositLeg),
}

/// A transfer that took place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Transaction hash in canonical text form.
    pub transaction: String,
    /// Which movement inside the transaction.
    pub leg: DepositLeg,
    /// Receiving address in canonical text form.
    pub to: String,
    /// Sending address in canonical text form.
    pub from: Option<String>,
    /// What.
    pub asset: AssetId,
    /// Minor units, more than zero.
    pub minor: u128,
}

/// An asset of which a source does not see every arrival, so that balances have to be compared with what was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared<'a> {
    /// The asset.
    pub asset: &'a AssetId,
    /// How often, at most.
    pub every: Duration,
}

/// A transaction of a final block that mentions an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mention {
    /// Of its block.
    pub height: u64,
    /// In canonical text form.
    pub transaction: String,
    /// What failed has moved nothing.
    pub succeeded: bool,
}

/// What a chain can be asked about single addresses. Every method may be repeated and cancelled at any time.
#[async_trait]
pub trait AddressReads: Send + Sync {
    /// The accounts, besides the address itself, that hold accepted tokens for it, in the state of block `upto` or later.
    async fn accounts(&self, address: &str, upto: u64) -> Result<Vec<String>, SourceError>;

    /// The transactions of final blocks that mention the account, newest first, down to the transaction `until` (which is not
    /// among them; all there are, if it is not known). None up to block `upto` is missing; later ones may be there.
    async fn mentions(&self, account: &str, until: Option<&str>, upto: u64) -> Result<Vec<Mention>, SourceError>;

    /// What that transaction, which took place, moved.
    async fn moved(&self, mention: &Mention) -> Result<Vec<Candidate>, SourceError>;
}

/// What is said of a block, and is to be said by others too before it is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Transfers in it that took place.
    pub transfers: Vec<Transfer>,
    /// Addresses, and how much of the compared asset each holds in its state, or more; in minor units.
    pub holdings: Vec<(String, u128)>,
}

impl Claims {
    /// What is not so when these are the transfers that took place; whom they are from does not matter.
    pub(crate) fn contradicted_by(&self, settled: &[Transfer]) -> Option<String> {
        let is_there = |claimed: &&Transfer| {
            settled.iter().any(|there| {
                (&there.transaction, &there.leg, &there.to) == (&claimed.transaction, &claimed.leg, &claimed.to)
                    && (&there.asset, there.minor) == (&claimed.asset, claimed.minor)
            })
        };
        let missing = self.transfers.iter().find(|claimed| !is_there(claimed))?;
        Some(format!(
            "has no transfer of {} {} to {} in {}",
            missing.minor, missing.asset, missing.to, missing.transaction
        ))
    }
}

/// What the endpoints of a chain say about a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witnesses {
    /// Endpoints, by host and port, that name the block's hash at its height and say all that is claimed of it.
    pub same: Vec<String>,
    /// Endpoints that name another hash, or say otherwise: what.
    pub other: Vec<String>,
    /// Endpoints that say nothing: why.
    pub silent: Vec<String>,
}

/// What final blocks are searched for: whatever token arrived at addresses of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// The lowest block.
    pub first: u64,
    /// The highest block.
    pub last: u64,
    /// In canonical text form.
    pub addresses: Vec<String>,
    /// The blocks of the range that are known.
    pub blocks: Vec<BlockRef>,
    /// Transaction, asset and receiver of each token transfer of the range that is recorded. An answer that does not show
    /// one of them is incomplete; they need not be found again.
    pub recorded: Vec<(String, AssetId, String)>,
    /// Transfers of one token to one address that are wanted, at most.
    pub each_max: usize,
    /// Transfers that are wanted, at most.
    pub transfers_max: usize,
}

/// What a [`Search`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Transfers that took place and were not known to be recorded, by block. Some may be recorded all the same.
    pub blocks: Vec<(BlockRef, Vec<Transfer>)>,
    /// Transfers beyond what was wanted.
    pub left_out: u64,
    /// Transfers of more than 2^128 minor units.
    pub oversized: u64,
}

/// Why a chain cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The nodes are not what the configuration says they are.
    #[error("{reason}")]
    Refused {
        /// What is wrong, in full.
        reason: String,
    },
    /// No node gives a usable answer now.
    #[error("no endpoint gives a usable answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A chain that can be read block by block. Every method may be repeated and cancelled at any time.
#[async_trait]
pub trait ChainSource: Send + Sync + 'static {
    /// The newest block and what is final.
    async fn head(&self) -> Result<Head, SourceError>;

    /// The heights of the next blocks above `after`, in order, none above `upto`, at most `limit`. On most chains every
    /// height has a block; where heights can stay empty (Solana's skipped slots) this says which do not.
    async fn heights(&self, after: u64, upto: u64, limit: usize) -> Result<Vec<u64>, SourceError> {
        Ok((after.saturating_add(1)..=upto).take(limit).collect())
    }

    /// Whether a height below the head can have no block.
    fn has_empty_heights(&self) -> bool {
        false
    }

    /// The canonical block at that height, `None` when the node has none there.
    async fn header(&self, height: u64) -> Result<Option<BlockHeader>, SourceError>;

    /// The block at that height as a node has it that itself calls the height final; `None` when the node asked does not
    /// (yet). Asked before money is credited, where [`Head::finality`] is [`Final::UpTo`].
    async fn final_header(&self, height: u64) -> Result<Option<BlockHeader>, SourceError> {
        self.header(height).await
    }

    /// The canonical block at that height with its transfers, `None` when the node has none there.
    async fn block(&self, height: u64) -> Result<Option<BlockData>, SourceError>;

    /// Which of these candidates of that block took place, in the same order.
    async fn settle(&self, block: &BlockRef, candidates: &[Candidate]) -> Result<Vec<Transfer>, SourceError>;

    /// The same for many blocks: one list of transfers for each.
    async fn settle_all(&self, blocks: &[(BlockRef, Vec<Candidate>)]) -> Result<Vec<Vec<Transfer>>, SourceError> {
        let mut settled = Vec::with_capacity(blocks.len());
        for (block, candidates) in blocks {
            settled.push(if candidates.is_empty() { Vec::new() } else { self.settle(block, candidates).await? });
        }
        Ok(settled)
    }

    /// Some of the next blocks above `after`, in order and without a gap, none above `upto`, read in bulk. Asked far below
    /// the head, where blocks do not change any more. `None`: this chain is read one block at a time.
    async fn bulk(&self, after: u64, upto: u64) -> Result<Option<Vec<BlockData>>, SourceError> {
        let _ = (after, upto);
        Ok(None)
    }

    /// What can be asked about single addresses, when this chain is followed by them instead of by its blocks. Then
    /// [`heights`](Self::heights) and [`header`](Self::header) are asked at the beginning only, and blocks never.
    fn by_address(&self) -> Option<&dyn AddressReads> {
        None
    }

    /// Whether tokens that nobody configured are in no [`block`](Self::block), so that [`search`](Self::search) is to be asked
    /// for them.
    fn is_searched(&self) -> bool {
        false
    }

    /// Looks for them. Takes as long as it takes; nothing else waits for it.
    async fn search(&self, search: &Search) -> Result<Found, SourceError> {
        let _ = search;
        Ok(Found::default())
    }

    /// What was answered last contradicts what is known for certain: where there is another endpoint, it is asked first for
    /// a while. `reason`: for people.
    fn doubt(&self, reason: &str) {
        let _ = reason;
    }

    /// How each endpoint behind this source is doing.
    fn endpoints(&self) -> Vec<EndpointHealth> {
        Vec::new()
    }

    /// Asks every endpoint for the hash at that block's height and for what is claimed of the block, until so many say the
    /// same. Takes some seconds at most. A hash alone would say nothing: who invents a transfer can name the true one. A
    /// source without endpoints has no witnesses.
    async fn witnesses(&self, block: &BlockRef, claims: &Claims, enough: usize) -> Witnesses {
        let _ = (block, claims, enough);
        Witnesses::default()
    }

    /// The asset whose balances have to be compared at that height, if there is one.
    fn compared(&self, height: u64) -> Option<Compared<'_>> {
        let _ = height;
        None
    }

    /// What these addresses hold of the compared asset at each of these blocks: a list for each block, in the order of the
    /// addresses.
    async fn holdings(&self, blocks: &[BlockRef], addresses: &[String]) -> Result<Vec<Vec<u128>>, SourceError> {
        let _ = (blocks, addresses);
        Ok(Vec::new())
    }
}
