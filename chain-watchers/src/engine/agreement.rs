//! Large deposits are confirmed only when several endpoints show them in the same block.
//!
//! One endpoint's word is enough for small amounts: a false block would have to link to the true ones and the lie would
//! show with the next block. For a large one somebody may go to that length, or name the true block and invent a transfer in
//! it, which no hash that is named betrays. So the endpoints are asked for the deposits themselves: each finds them in the
//! block, or says what address holds what (money that a comparison found), or does not count. What is agreed is one deposit
//! in one block, and is kept in memory: after a restart it is asked again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use metrics::{counter, gauge};
use tracing::{info, warn};
use wopay_domain::BlockRef;

use super::agreement_store::{self, Due};
use super::compare::is_of_balance;
use super::error::WatchError;
use super::finality::named_final;
use super::{ChainWatcher, gauge_value};
use crate::config::Agreement;
use crate::source::{Claims, Final, Head, Witnesses};

/// A block on which there is no agreement is asked about again after this, twice as long each time …
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// … up to this.
const ASK_AGAIN_AFTER_MAX: Duration = Duration::from_secs(120);
/// Blocks asked about in one step, at most …
const BLOCKS_MAX: usize = 32;
/// … and no more are begun after this.
const ASK_FOR: Duration = Duration::from_secs(2);

/// The rule, and what was found out.
#[derive(Debug)]
pub(super) struct Agreements {
    pub(super) rule: Option<Agreement>,
    /// By the hash of a block that holds deposits which are otherwise due.
    blocks: HashMap<String, Asked>,
}

/// What the endpoints said of a block.
#[derive(Debug)]
struct Asked {
    at: Instant,
    times: u32,
    /// What they were asked about.
    identities: Vec<String>,
    /// What is missing; `None`: they agree.
    missing: Option<String>,
}

impl Asked {
    fn is_over(&self, due: &Due) -> bool {
        if self.identities != due.identities {
            return true;
        }
        let doubled = ASK_AGAIN_AFTER.saturating_mul(2_u32.saturating_pow(self.times.saturating_sub(1).min(16)));
        self.missing.is_some() && self.at.elapsed() >= doubled.min(ASK_AGAIN_AFTER_MAX)
    }
}

impl Agreements {
    pub(super) fn new(rule: Option<Agreement>) -> Self {
        Self { rule, blocks: HashMap::new() }
    }

    /// The deposits on which there is agreement, as the store names them.
    pub(super) fn agreed(&self) -> Vec<&str> {
        let agreed = self.blocks.values().filter(|asked| asked.missing.is_none());
        agreed.flat_map(|asked| &asked.identities).map(String::as_str).collect()
    }

    /// Whose turn it is: those never asked about, then those of long ago, so that what nobody can answer does not keep the
    /// others waiting.
    fn turn<'a>(&self, due: &'a [Due]) -> Vec<&'a Due> {
        let asked = |due: &Due| self.blocks.get(&due.block.hash);
        let mut turn: Vec<&Due> = due.iter().filter(|due| asked(due).is_none_or(|asked| asked.is_over(due))).collect();
        turn.sort_by_key(|due| asked(due).map(|asked| asked.at));
        turn.truncate(BLOCKS_MAX);
        turn
    }

    fn note(&mut self, due: &Due, missing: Option<String>) {
        let same = self.blocks.get(&due.block.hash).filter(|asked| asked.identities == due.identities);
        let times = same.map_or(0, |asked| asked.times).saturating_add(1);
        let asked = Asked { at: Instant::now(), times, identities: due.identities.clone(), missing };
        self.blocks.insert(due.block.hash.clone(), asked);
    }
}

impl ChainWatcher {
    /// Asks about the blocks whose large deposits would be confirmed with the cursor at `height`. `true`: there is agreement
    /// on one more.
    pub(super) async fn seek_agreement(&mut self, height: u64, head: &Head) -> Result<bool, WatchError> {
        let Some(rule) = self.agreements.rule.clone() else { return Ok(false) };
        let final_height = match head.finality {
            Final::ByDepth => Some(height),
            Final::UpTo(_) | Final::Unknown => named_final(head),
        };
        let Some(final_height) = final_height else { return Ok(false) };
        let (chain, default) = (&self.settings.chain, self.settings.confirmations_default);
        let due = agreement_store::due(&self.pool, chain, &rule, height, final_height, default).await?;
        self.agreements.blocks.retain(|hash, _| due.iter().any(|due| due.block.hash == *hash));
        let mut is_new = false;
        for (due, missing) in self.ask(self.agreements.turn(&due), rule.providers).await? {
            is_new |= missing.is_none();
            self.agreements.note(due, missing);
        }
        self.show_held(&due);
        Ok(is_new)
    }

    /// Asks about some blocks at once. What is missing for agreement on each, of those for which there was time.
    async fn ask<'a>(
        &self,
        turn: Vec<&'a Due>,
        providers: usize,
    ) -> Result<Vec<(&'a Due, Option<String>)>, WatchError> {
        let mut asks = Vec::with_capacity(turn.len());
        for due in turn {
            let claims = self.claims(due).await?;
            asks.push(async move { (due, self.ask_witnesses(&due.block, &claims, providers).await) });
        }
        let mut asks = stream::iter(asks).buffer_unordered(self.settings.concurrency);
        let (begun, mut answers) = (Instant::now(), Vec::new());
        while let Some(answer) = asks.next().await {
            answers.push(answer);
            if begun.elapsed() >= ASK_FOR {
                break;
            }
        }
        Ok(answers)
    }

    /// What is to be said of the block. Money that a comparison found is in no transaction: when it was found, the address
    /// held it besides all that had been recorded for it.
    async fn claims(&self, due: &Due) -> Result<Claims, WatchError> {
        let mut claims = Claims::default();
        for transfer in &due.transfers {
            if is_of_balance(&transfer.leg) {
                let (asset, address) = (&transfer.asset, transfer.to.as_str());
                let (chain, number) = (&self.settings.chain, due.block.number);
                let held = agreement_store::recorded_upto(&self.pool, chain, asset, address, number).await?;
                claims.holdings.push((address.to_owned(), held));
            } else {
                claims.transfers.push(transfer.clone());
            }
        }
        Ok(claims)
    }

    /// What is missing for agreement on that block, if something is.
    async fn ask_witnesses(&self, block: &BlockRef, claims: &Claims, providers: usize) -> Option<String> {
        let chain = &self.settings.chain;
        let witnesses = self.source.witnesses(block, claims, providers).await;
        let missing = missing(block, &witnesses, providers);
        let outcome = match &missing {
            None => "agreed",
            Some(_) if witnesses.other.is_empty() => "short",
            Some(_) => "disagreed",
        };
        counter!("wopay_chain_watchers_agreement_total", "chain" => chain.to_string(), "outcome" => outcome)
            .increment(1);
        match &missing {
            None => info!(%chain, block = block.number, hash = block.hash, endpoints = ?witnesses.same, "agreement"),
            Some(reason) => warn!(%chain, reason, "a large deposit is NOT confirmed"),
        }
        missing
    }

    /// Shows what is held, in the order of the blocks.
    fn show_held(&self, due: &[Due]) {
        let asked = due.iter().filter_map(|due| self.agreements.blocks.get(&due.block.hash));
        let held: Vec<&str> = asked.filter_map(|asked| asked.missing.as_deref()).collect();
        let count = u64::try_from(held.len()).unwrap_or_default();
        gauge!("wopay_chain_watchers_agreement_held_blocks", "chain" => self.settings.chain.to_string())
            .set(gauge_value(count));
        let shown = held.first().map(|first| match count {
            1 => (*first).to_owned(),
            _ => format!("{first} (and {} more blocks)", count.saturating_sub(1)),
        });
        self.status.update(|health| health.held = shown);
    }
}

/// What is missing for agreement, if something is.
fn missing(block: &BlockRef, witnesses: &Witnesses, providers: usize) -> Option<String> {
    if witnesses.same.len() >= providers {
        return None;
    }
    let all = [witnesses.same.len(), witnesses.other.len(), witnesses.silent.len()].iter().sum::<usize>();
    let mut text = format!(
        "large deposits in block {} wait for {providers} endpoints to name its hash {} and show them: {} of {all} do",
        block.number,
        block.hash,
        witnesses.same.len(),
    );
    if all < providers {
        text.push_str(", and no more are configured");
    }
    for other in witnesses.other.iter().chain(&witnesses.silent) {
        text.push_str("; ");
        text.push_str(other);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(number: u64) -> Due {
        let block = BlockRef { number, hash: format!("0x{number}"), time: chrono::DateTime::UNIX_EPOCH };
        Due { block, transfers: Vec::new(), identities: vec![format!("0x{number} deposit")] }
    }

    fn asked(agreements: &mut Agreements, due: &Due, times: u32, seconds_ago: u64) {
        let at = Instant::now().checked_sub(Duration::from_secs(seconds_ago)).unwrap();
        let missing = Some("one is away".to_owned());
        let asked = Asked { at, times, identities: due.identities.clone(), missing };
        agreements.blocks.insert(due.block.hash.clone(), asked);
    }

    #[test]
    fn who_cannot_be_agreed_on_waits_longer_each_time_and_after_the_others() {
        let all: Vec<Due> = (0..100).map(due).collect();
        let mut agreements = Agreements::new(None);
        for due in &all[..90] {
            asked(&mut agreements, due, 1, 130 - due.block.number);
        }
        let turn: Vec<u64> = agreements.turn(&all).iter().map(|due| due.block.number).collect();
        assert_eq!(turn.len(), BLOCKS_MAX);
        assert_eq!(turn[..12], [90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 0, 1], "new ones, then those of long ago");
        for (times, pause) in [(1, 2), (2, 4), (3, 8), (40, 120)] {
            asked(&mut agreements, &all[0], times, pause - 1);
            assert_eq!(agreements.turn(&all[..1]).len(), 0, "{times}");
            asked(&mut agreements, &all[0], times, pause + 1);
            assert_eq!(agreements.turn(&all[..1]).len(), 1, "{times}");
        }
    }

    #[test]
    fn agreement_is_about_the_deposits_that_were_asked_about() {
        let mut agreements = Agreements::new(None);
        let mut block = due(7);
        agreements.note(&block, None);
        assert_eq!(agreements.agreed(), ["0x7 deposit"]);
        assert!(agreements.turn(std::slice::from_ref(&block)).is_empty());
        block.identities.push("0x7 another".to_owned());
        assert_eq!(agreements.turn(std::slice::from_ref(&block)).len(), 1);
        assert_eq!(agreements.agreed(), ["0x7 deposit"]);
    }

    #[test]
    fn what_is_missing_is_said() {
        let block = BlockRef { number: 7, hash: "0xaa".to_owned(), time: chrono::DateTime::UNIX_EPOCH };
        let witnesses = |same: &[&str], other: &[&str], silent: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            Witnesses { same: owned(same), other: owned(other), silent: owned(silent) }
        };
        assert_eq!(missing(&block, &witnesses(&["a", "b"], &["c has 0xbb"], &[]), 2), None);
        let text = missing(&block, &witnesses(&["a"], &["b has 0xbb"], &["c is away"]), 2).unwrap_or_default();
        assert!(
            text.contains(
                "block 7 wait for 2 endpoints to name its hash 0xaa and show them: 1 of 3 do; b has 0xbb; c is away"
            ),
            "{text}"
        );
        let text = missing(&block, &witnesses(&["a"], &[], &[]), 2).unwrap_or_default();
        assert!(text.ends_with("1 of 1 do, and no more are configured"), "{text}");
    }
}
