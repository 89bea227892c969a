//! One look at one address: what arrived there since the last.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::{StreamExt, TryStreamExt, stream};

use super::address_store::Accounts;
use crate::source::{AddressReads, BlockData, Candidate, ChainSource, Mention, SourceError};

/// New transactions of one address taken in one look, the oldest first.
const TRANSACTIONS_MAX: usize = 1000;
/// Transactions of one address read at the same time.
const READ_AT_ONCE: usize = 4;

/// Where a look ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    /// Height.
    pub(super) upto: u64,
    /// See [`ByAddress::listed_within`](crate::config::ByAddress::listed_within).
    pub(super) listed_within: u64,
}

/// What one look at an address found.
pub(super) struct Look {
    pub(super) address: String,
    /// With what arrived at the address, in order.
    pub(super) blocks: Vec<BlockData>,
    pub(super) accounts: Accounts,
    /// The accounts are not those that are stored.
    pub(super) has_new_accounts: bool,
    pub(super) done: HashSet<String>,
    /// Nothing new is left for the next look.
    pub(super) is_complete: bool,
}

/// Everything up to `upto` that arrived at an address and was not taken before.
pub(super) async fn look(
    source: &dyn ChainSource,
    reads: &dyn AddressReads,
    address: String,
    known: Accounts,
    mut done: HashSet<String>,
    until: Until,
) -> Result<Look, SourceError> {
    let Until { upto, listed_within } = until;
    let mut accounts = known.clone();
    accounts.entry(address.clone()).or_default();
    for account in reads.accounts(&address, upto).await? {
        accounts.entry(account).or_default();
    }
    let mut histories: Vec<(String, Vec<Mention>)> = Vec::with_capacity(accounts.len());
    for (account, until) in &accounts {
        let mut mentions = reads.mentions(account, until.as_deref(), upto).await?;
        mentions.retain(|mention| mention.height <= upto);
        mentions.reverse();
        histories.push((account.clone(), mentions));
    }
    let listed = || histories.iter().flat_map(|(_, mentions)| mentions);
    let new: BTreeSet<&Mention> =
        listed().filter(|mention| mention.succeeded && !done.contains(&mention.transaction)).collect();
    let is_complete = new.len() <= TRANSACTIONS_MAX;
    let new: Vec<&Mention> = new.into_iter().take(TRANSACTIONS_MAX).collect();
    let blocks = read_blocks(source, reads, &address, &new).await?;
    done.extend(new.into_iter().map(|mention| mention.transaction.clone()));
    for (account, mentions) in &histories {
        let is_known = |mention: &&Mention| {
            let is_taken = !mention.succeeded || done.contains(&mention.transaction);
            is_taken && mention.height <= upto.saturating_sub(listed_within)
        };
        if let Some(until) = mentions.iter().take_while(is_known).last() {
            accounts.insert(account.clone(), Some(until.transaction.clone()));
        }
    }
    let listed: HashSet<&str> = listed().map(|mention| mention.transaction.as_str()).collect();
    done.retain(|transaction| listed.contains(transaction.as_str()));
    let has_new_accounts = accounts != known;
    Ok(Look { address, blocks, accounts, has_new_accounts, done, is_complete })
}

/// The blocks of these transactions that hold something for the address.
async fn read_blocks(
    source: &dyn ChainSource,
    reads: &dyn AddressReads,
    address: &str,
    mentions: &[&Mention],
) -> Result<Vec<BlockData>, SourceError> {
    let moved: Vec<_> = mentions.iter().map(|mention| reads.moved(mention)).collect();
    let moved: Vec<Vec<Candidate>> = stream::iter(moved).buffered(READ_AT_ONCE).try_collect().await?;
    let mut arrived: BTreeMap<u64, Vec<Candidate>> = BTreeMap::new();
    for (mention, candidates) in mentions.iter().zip(moved) {
        let mut here = candidates.into_iter().filter(|candidate| candidate.to == address).peekable();
        if here.peek().is_some() {
            arrived.entry(mention.height).or_default().extend(here);
        }
    }
    let mut blocks = Vec::with_capacity(arrived.len());
    for (height, candidates) in arrived {
        let header = source.final_header(height).await?;
        let header = header.ok_or_else(|| {
            SourceError::Unavailable(
                format!("a transaction stands in block {height}, which no node calls final").into(),
            )
        })?;
        blocks.push(BlockData { header, candidates });
    }
    Ok(blocks)
}
