//! Tokens that nobody configured: what arrived at addresses of ours in final blocks, of whatever contract.
//!
//! The logs of a range of blocks are asked for by receiver instead of by contract: a call for some hundred addresses,
//! whatever else is in the blocks. What is found is settled by receipts like every other transfer, so its key is the one
//! that it would have had if its contract had been configured.
//!
//! What strangers log costs them little. So no answer is kept as a whole, and of one contract to one address only so many
//! transfers are kept as are wanted; the others are counted.

use std::collections::{HashMap, HashSet};

use ethers::types::{Address, H256};
use serde_json::json;
use wopay_domain::{AssetId, BlockRef, ChainName};

use super::EvmSource;
use super::backfill::{self, Paces};
use super::endpoint::Endpoint;
use super::error::EvmError;
use super::transfers::{Assets, NATIVE_LOGGER, to_candidate, transfer_topic};
use super::types::{NodeLog, address_text, hash_text};
use crate::config::EvmOptions;
use crate::pool::Outcome;
use crate::source::{Candidate, Found, Place, Search};

/// Receivers named in one call. (go-ethereum takes a thousand.)
const RECEIVERS_MAX: usize = 500;

/// Transaction, asset and receiver.
type Movement = (String, AssetId, String);

/// A transfer, with the block that its log names.
struct Logged {
    height: u64,
    hash: H256,
    candidate: Candidate,
}

impl EvmSource {
    /// What that endpoint shows of what is searched for, to be believed as a whole or not at all.
    pub(super) async fn read_arrivals(&self, endpoint: &Endpoint, search: &Search) -> Result<Found, EvmError> {
        let endpoint = &endpoint.patient();
        check_last(endpoint, search).await?;
        let mut sieve = Sieve::new(&self.chain, search);
        for chunk in search.addresses.chunks(RECEIVERS_MAX) {
            let receivers: HashSet<Address> = chunk.iter().filter_map(|address| address.parse().ok()).collect();
            read_logs(endpoint, &self.search_paces, search, &receivers, &mut sieve).await?;
        }
        let Sifted { logged, left_out, oversized } = sieve.sifted(endpoint)?;
        let contract =
            |one: &Logged| Some((one.candidate.asset.contract()?.parse().ok()?, one.candidate.asset.clone()));
        let tokens: HashMap<Address, AssetId> = logged.iter().filter_map(contract).collect();
        let assets = Assets::new(None, tokens, &EvmOptions::default());
        let blocks = by_block(endpoint, search, logged).await?;
        let settled = self.read_settlement(endpoint, &assets, &blocks).await?;
        let blocks = blocks.into_iter().map(|(block, _)| block).zip(settled).collect();
        Ok(Found { blocks, left_out, oversized })
    }
}

/// The endpoint has the last block, and it is ours: so are those below.
async fn check_last(endpoint: &Endpoint, search: &Search) -> Result<(), EvmError> {
    let Some(theirs) = endpoint.header_at(search.last).await? else {
        return Err(endpoint.inconsistent(format!("it does not have block {}, which is final", search.last)));
    };
    let ours = search.blocks.iter().find(|block| block.number == search.last);
    match ours.filter(|ours| ours.hash != theirs.block.hash) {
        None => Ok(()),
        Some(ours) => {
            let theirs = theirs.block;
            Err(endpoint
                .inconsistent(format!("it has {} at {}, where {} is final", theirs.hash, ours.number, ours.hash)))
        }
    }
}

/// Every transfer to these in the range goes into the sieve.
async fn read_logs(
    endpoint: &Endpoint,
    paces: &Paces,
    search: &Search,
    receivers: &HashSet<Address>,
    sieve: &mut Sieve<'_>,
) -> Result<(), EvmError> {
    let topics: Vec<H256> = receivers.iter().map(|receiver| H256::from(*receiver)).collect();
    let filter = |_| json!({"topics": [transfer_topic(), null, topics]});
    let mut first = search.first;
    while first <= search.last {
        let last = search.last.min(first.saturating_add(backfill::span(endpoint, paces) - 1));
        let take = |logs: Vec<NodeLog>| logs.iter().try_for_each(|log| sieve.take(endpoint, receivers, log));
        backfill::read_span(endpoint, paces, (first, last), filter, is_too_much, take).await?;
        first = last.saturating_add(1);
    }
    Ok(())
}

/// Whether half of the blocks may be answered at once. Only what an endpoint says that is well: what it does not answer in
/// time, or answers with a page, is not asked again right away, for others want to use it.
fn is_too_much(error: &EvmError) -> bool {
    matches!(error, EvmError::Call(failure) if matches!(failure.outcome(), Outcome::Answered))
}

/// Transfers in order, by their blocks. A block that is not known is as the endpoint has it.
async fn by_block(
    endpoint: &Endpoint,
    search: &Search,
    logged: Vec<Logged>,
) -> Result<Vec<(BlockRef, Vec<Candidate>)>, EvmError> {
    let known: HashMap<u64, &BlockRef> = search.blocks.iter().map(|block| (block.number, block)).collect();
    let mut blocks: Vec<(BlockRef, Vec<Candidate>)> = Vec::new();
    for Logged { height, hash, candidate } in logged {
        if blocks.last().is_none_or(|(last, _)| last.number != height) {
            let block = match known.get(&height) {
                Some(block) => Some((*block).clone()),
                None => endpoint.header_at(height).await?.map(|header| header.block),
            };
            let block = block.ok_or_else(|| endpoint.inconsistent(format!("it does not have block {height}")))?;
            blocks.push((block, Vec::new()));
        }
        let of_block = blocks.last_mut().filter(|(block, _)| block.hash == hash_text(hash));
        let (_, candidates) = of_block.ok_or_else(|| {
            endpoint.inconsistent(format!("a log of block {height} belongs to {}, which is not there", hash_text(hash)))
        })?;
        candidates.push(candidate);
    }
    Ok(blocks)
}

/// Lets through what is wanted of the logs.
struct Sieve<'a> {
    chain: &'a ChainName,
    search: &'a Search,
    /// What is recorded: how many of each there are, and what the logs show of it.
    recorded: HashMap<Movement, (usize, Vec<Logged>)>,
    /// Of everything else.
    new: Vec<Logged>,
    /// How many of each contract and receiver are among these.
    kept: HashMap<(AssetId, String), usize>,
    /// Of all that is kept.
    places: HashSet<(u64, Place)>,
    left_out: u64,
    oversized: u64,
}

/// What a sieve has let through, in the order of the chain.
struct Sifted {
    logged: Vec<Logged>,
    left_out: u64,
    oversized: u64,
}

impl<'a> Sieve<'a> {
    fn new(chain: &'a ChainName, search: &'a Search) -> Self {
        let mut recorded: HashMap<Movement, (usize, Vec<Logged>)> = HashMap::new();
        for movement in &search.recorded {
            let (count, _) = recorded.entry(movement.clone()).or_default();
            *count = count.saturating_add(1);
        }
        let (new, kept, places) = (Vec::new(), HashMap::new(), HashSet::new());
        Self { chain, search, recorded, new, kept, places, left_out: 0, oversized: 0 }
    }

    /// Takes a log that was asked for by these receivers.
    fn take(&mut self, endpoint: &Endpoint, receivers: &HashSet<Address>, log: &NodeLog) -> Result<(), EvmError> {
        let foreign = || endpoint.inconsistent("asked for transfers to our addresses, got another log");
        let height = log.block_number.ok_or_else(foreign)?.as_u64();
        let hash = log.block_hash.filter(|_| log.removed != Some(true)).ok_or_else(foreign)?;
        let is_receiver = |topic: &&H256| {
            let receiver = Address::from(**topic);
            H256::from(receiver) == **topic && receivers.contains(&receiver)
        };
        let is_asked_for =
            log.topics.first() == Some(&transfer_topic()) && log.topics.get(2).is_some_and(|topic| is_receiver(&topic));
        if !is_asked_for || !(self.search.first..=self.search.last).contains(&height) {
            return Err(foreign());
        }
        // Where native transfers are logged, they are native money.
        if log.address == NATIVE_LOGGER {
            return Ok(());
        }
        let asset = AssetId::token(self.chain, &address_text(log.address));
        let asset = asset.map_err(|error| endpoint.inconsistent(error.to_string()))?;
        let Some(candidate) = to_candidate(endpoint, log, &asset)? else { return Ok(()) };
        if candidate.minor.is_none() {
            self.oversized = self.oversized.saturating_add(1);
            return Ok(());
        }
        self.sift(endpoint, Logged { height, hash, candidate })
    }

    fn sift(&mut self, endpoint: &Endpoint, logged: Logged) -> Result<(), EvmError> {
        let Candidate { transaction, asset, to, place, .. } = &logged.candidate;
        let place = (logged.height, place.clone());
        if let Some((_, shown)) = self.recorded.get_mut(&(transaction.clone(), asset.clone(), to.clone())) {
            shown.push(logged);
        } else {
            let kept = self.kept.entry((asset.clone(), to.clone())).or_default();
            if *kept >= self.search.each_max || self.new.len() >= self.search.transfers_max {
                self.left_out = self.left_out.saturating_add(1);
                return Ok(());
            }
            *kept = kept.saturating_add(1);
            self.new.push(logged);
        }
        if self.places.insert(place) { Ok(()) } else { Err(endpoint.inconsistent("a log is given twice")) }
    }

    /// What is new. Of a movement of which more is shown than is recorded, all is: which part is, its key will say.
    fn sifted(self, endpoint: &Endpoint) -> Result<Sifted, EvmError> {
        let Self { recorded, new: mut logged, left_out, oversized, .. } = self;
        for ((transaction, asset, to), (count, shown)) in recorded {
            if shown.len() < count {
                let what = format!("it does not show that {asset} came to {to} in {transaction}, which is recorded");
                return Err(endpoint.inconsistent(what));
            }
            if shown.len() > count {
                logged.extend(shown);
            }
        }
        logged.sort_by_key(|one| match one.candidate.place {
            Place::Log(index) => (one.height, index),
            Place::Value | Place::Settled(_) => (one.height, 0),
        });
        Ok(Sifted { logged, left_out, oversized })
    }
}
