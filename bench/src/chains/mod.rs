//! Watching chains: what a block costs with many addresses, catching up beside Ponder, the head of a fast chain, how often
//! nodes are asked, and how soon a deposit is in the ledger.

mod backfill;
mod calls;
mod detect;
mod families;
mod head;
mod matching;
mod metrics;
mod node;
mod ponder;
mod synthetic;
mod tables;
mod watched;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use wopay_private_services::{BinarySearch, SyncInterval};

pub(crate) use tables::print;

use self::backfill::Backfill;
use self::calls::Calls;
use self::detect::Detected;
use self::head::Head;
use self::matching::Matched;
use crate::Part;
use crate::aim::{Aim, at_least, at_most};
use crate::gateway::Place;
use crate::report::mebibytes;
use crate::server::Server;

const HTTP_WITHIN: Duration = Duration::from_secs(10);
const MATCH_AIM_MS: f64 = 5.0;
const MATCH_GROWTH_AIM: f64 = 2.0;
const PONDER_AIM: f64 = 3.0;
const CPU_AIM_PERCENT: f64 = 10.0;
const MEMORY_AIM_MIB: f64 = 150.0;
const DETECT_AIM_MS: f64 = 300.0;

/// What to measure, and with what.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'a> {
    /// Which parts.
    pub(crate) parts: &'a [Part],
    /// Blocks to catch up with.
    pub(crate) blocks: u64,
    /// Where Ponder is, if it is installed.
    pub(crate) ponder: Option<&'a Path>,
    /// The gateway's binary.
    pub(crate) wopay: &'a Path,
    /// Where to look for nats-server.
    pub(crate) search: BinarySearch,
    /// How often nats-server forces its files to the disk.
    pub(crate) nats_sync: SyncInterval,
    /// Folder for files.
    pub(crate) scratch: &'a Path,
}

impl Plan<'_> {
    /// A gateway with its files in that folder.
    fn place<'p>(&'p self, scratch: &'p Path) -> Place<'p> {
        Place { wopay: self.wopay, scratch, search: self.search.clone(), nats_sync: self.nats_sync }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Chains {
    /// (i), by the number of addresses.
    pub(crate) matched: Vec<Matched>,
    /// (j)
    pub(crate) backfill: Option<Backfill>,
    /// (k)
    pub(crate) head: Option<Head>,
    /// (l)
    pub(crate) calls: Vec<Calls>,
    /// (m)
    pub(crate) detected: Option<Detected>,
}

/// Measures the parts of a plan that are about chains; `None` if there are none.
pub(crate) async fn measure(server: &Server, plan: &Plan<'_>) -> Result<Option<Chains>> {
    let wants = |part: Part| plan.parts.contains(&part);
    if ![Part::Match, Part::Backfill, Part::Head, Part::Calls, Part::Detect].into_iter().any(wants) {
        return Ok(None);
    }
    let http = reqwest::Client::builder().no_proxy().timeout(HTTP_WITHIN).build()?;
    let mut found = Chains::default();
    if wants(Part::Match) {
        println!("== bench: (i) matching blocks with watched addresses");
        found.matched = matching::measure(server).await?;
    }
    if wants(Part::Backfill) {
        println!("== bench: (j) catching up");
        found.backfill = without_node("(j)", backfill::measure(server, plan).await?);
    }
    if wants(Part::Head) {
        println!("== bench: (k) the head of a chain like BSC");
        found.head = without_node("(k)", head::measure(server, plan, &http).await?);
    }
    if wants(Part::Calls) {
        println!("== bench: (l) calls of other chains");
        found.calls = families::measure(server, plan, &http).await?;
    }
    if wants(Part::Detect) {
        println!("== bench: (m) from a block to the ledger");
        found.detected = without_node("(m)", detect::measure(server, plan, &http).await?);
    }
    Ok(Some(found))
}

/// Says so when a part could not be measured.
fn without_node<T>(part: &str, found: Option<T>) -> Option<T> {
    if found.is_none() {
        println!("== bench: NO ANVIL HERE (`make tools` installs it): {part} is left out");
    }
    found
}

impl Chains {
    /// What was reached of the aims.
    pub(crate) fn aims(&self) -> Vec<Aim> {
        let mut aims = self.aims_of_matching();
        if let Some(backfill) = &self.backfill
            && let Some(theirs) = backfill.ponder_rate_per_s()
        {
            aims.push(at_least(
                "(j) blocks/s / Ponder's, the same deposits",
                backfill.rate_per_s() / theirs,
                PONDER_AIM,
            ));
        }
        if let Some(head) = &self.head {
            aims.extend(
                head.cpu_percent.map(|percent| at_most("(k) CPU at the head, % of a core", percent, CPU_AIM_PERCENT)),
            );
            aims.extend(
                head.memory_peak_kib
                    .map(|kib| at_most("(k) peak memory at the head, MiB", mebibytes(kib), MEMORY_AIM_MIB)),
            );
        }
        if let Some(detected) = &self.detected {
            let p99_ms = f64::from(detected.latency.p99_us) / 1e3;
            aims.push(at_most("(m) block to `DepositDetected`, p99 ms", p99_ms, DETECT_AIM_MS));
        }
        aims
    }

    fn aims_of_matching(&self) -> Vec<Aim> {
        let (Some(fewest), Some(most)) = (self.matched.first(), self.matched.last()) else { return Vec::new() };
        let (Some(small_ms), Some(large_ms)) = (fewest.full_ms(1), most.full_ms(1)) else { return Vec::new() };
        let what = format!("(i) a block of 1,000 transfers at {} addresses, ms", most.addresses);
        let growth = format!("(i) the same / at {} addresses", fewest.addresses);
        vec![at_most(&what, large_ms, MATCH_AIM_MS), at_most(&growth, large_ms / small_ms, MATCH_GROWTH_AIM)]
    }
}
