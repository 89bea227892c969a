//! Large deposits are confirmed only when several endpoints name the same hash for their block.
//!
//! One endpoint's word is enough for small amounts: a false block would have to link to the true ones and the lie would
//! show with the next block. For a large one somebody may go to that length. A block's hash commits to everything in it,
//! so the endpoints agree on hashes, not on deposits. What is agreed is kept in memory: after a restart it is asked again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tracing::{info, warn};
use wopay_domain::BlockRef;

use super::error::WatchError;
use super::finality::named_final;
use super::{ChainWatcher, agreement_store, gauge_value};
use crate::config::Agreement;
use crate::source::{Final, Head, Witnesses};

/// A block on which there is no agreement is asked about again after this.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

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
    /// What is missing; `None`: they agree.
    missing: Option<String>,
}

impl Agreements {
    pub(super) fn new(rule: Option<Agreement>) -> Self {
        Self { rule, blocks: HashMap::new() }
    }

    /// The hashes of the blocks on which there is agreement.
    pub(super) fn agreed(&self) -> Vec<&str> {
        let agreed = self.blocks.iter().filter(|(_, asked)| asked.missing.is_none());
        agreed.map(|(hash, _)| hash.as_str()).collect()
    }

    fn is_due(&self, block: &BlockRef) -> bool {
        self.blocks
            .get(&block.hash)
            .is_none_or(|asked| asked.missing.is_some() && asked.at.elapsed() >= ASK_AGAIN_AFTER)
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
        self.agreements.blocks.retain(|hash, _| due.iter().any(|block| block.hash == *hash));
        let mut is_new = false;
        for block in &due {
            if self.agreements.is_due(block) {
                let missing = self.ask_witnesses(block, rule.providers).await;
                is_new |= missing.is_none();
                self.agreements.blocks.insert(block.hash.clone(), Asked { at: Instant::now(), missing });
            }
        }
        self.show_held(&due);
        Ok(is_new)
    }

    /// What is missing for agreement on that block, if something is.
    async fn ask_witnesses(&self, block: &BlockRef, providers: usize) -> Option<String> {
        let chain = &self.settings.chain;
        let witnesses = self.source.witnesses(block).await;
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
    fn show_held(&self, due: &[BlockRef]) {
        let asked = due.iter().filter_map(|block| self.agreements.blocks.get(&block.hash));
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
        "large deposits in block {} wait for {providers} endpoints to name its hash {}: {} of {all} do",
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
            text.contains("block 7 wait for 2 endpoints to name its hash 0xaa: 1 of 3 do; b has 0xbb; c is away"),
            "{text}"
        );
        let text = missing(&block, &witnesses(&["a"], &[], &[]), 2).unwrap_or_default();
        assert!(text.ends_with("1 of 1 do, and no more are configured"), "{text}");
    }
}
