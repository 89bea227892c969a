//! What a long past costs: replaying it, sealing and verifying it, rebuilding the read models from it, asking about a moment
//! in it, and appending to it. One ledger is filled once and serves all of these.

mod asof;
mod audit;
mod growth;
mod replay;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use wopay_commands::LedgerOptions;

pub(crate) use asof::AsOf;
pub(crate) use audit::Audit;
pub(crate) use growth::Growth;
pub(crate) use replay::Replay;

use crate::history::{History, fill};
use crate::latency::Percentiles;
use crate::server::{Database, Server};
use crate::work::Done;
use crate::{Part, in_repository};

/// For filling and asking.
const CONNECTIONS: u32 = 2;

/// What to measure.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'a> {
    /// Which parts.
    pub(crate) parts: &'a [Part],
    /// How many events.
    pub(crate) events: u64,
    /// Folder for files.
    pub(crate) scratch: &'a Path,
    /// Where the Python package `eventsourcing` is, if it is installed.
    pub(crate) eventsourcing: Option<PathBuf>,
    /// How to append.
    pub(crate) options: LedgerOptions,
    /// How long to append.
    pub(crate) duration: Duration,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Past {
    /// The ledger that was measured.
    pub(crate) history: History,
    /// (e)
    pub(crate) replay: Option<Replay>,
    /// (f)
    pub(crate) audit: Option<Audit>,
    /// (g)
    pub(crate) asof: Option<AsOf>,
    /// (h)
    pub(crate) growth: Option<Growth>,
}

/// A line of the report.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// `e` to `h`.
    pub(crate) group: char,
    /// What was measured.
    pub(crate) name: String,
    /// How many.
    pub(crate) count: u64,
    /// How many a second.
    pub(crate) rate_per_s: f64,
    /// CPU time for each of the process that worked.
    pub(crate) process_us: Option<f64>,
    /// CPU time for each of Postgres.
    pub(crate) postgres_us: Option<f64>,
    /// The most memory of the process that worked.
    pub(crate) peak_kib: Option<u64>,
    /// How long one took.
    pub(crate) latency: Option<Percentiles>,
    /// What there is to say.
    pub(crate) note: Option<String>,
}

impl Line {
    fn done(group: char, name: &str, done: &Done) -> Self {
        let each = |seconds: Option<f64>| Some(seconds? * 1e6 / done.events.max(1) as f64);
        Self {
            group,
            name: name.to_owned(),
            count: done.events,
            rate_per_s: done.rate_per_s(),
            process_us: each(done.cpu_seconds),
            postgres_us: each(done.postgres_seconds),
            peak_kib: done.peak_kib,
            latency: None,
            note: done.note.clone(),
        }
    }
}

impl Past {
    /// Every line, in the order of measuring.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let replay = self.replay.iter().flat_map(Replay::lines);
        let audit = self.audit.iter().flat_map(Audit::lines);
        let asof = self.asof.iter().flat_map(AsOf::lines);
        let growth = self.growth.iter().flat_map(Growth::lines);
        replay.chain(audit).chain(asof).chain(growth).collect()
    }
}

/// Measures the parts of a plan that are about the past; `None` if there are none.
pub(crate) async fn measure(server: &Server, plan: &Plan<'_>) -> Result<Option<Past>> {
    let wants = |part: Part| plan.parts.contains(&part);
    if ![Part::Replay, Part::Audit, Part::Asof, Part::Growth].into_iter().any(wants) {
        return Ok(None);
    }
    std::fs::create_dir_all(plan.scratch)?;
    println!("== bench: a ledger of {} events", plan.events);
    let database = filled(server, "bench_past", plan.events).await?;
    let (database, history) = database;
    let mut past = Past { history, replay: None, audit: None, asof: None, growth: None };
    if wants(Part::Replay) {
        println!("== bench: (e) replay");
        past.replay = Some(replay::measure(server, &database, &past.history, plan).await?);
    }
    if wants(Part::Audit) {
        println!("== bench: (f) sealing and verifying");
        past.audit = Some(audit::measure(server, &database, &past.history, plan).await?);
    }
    if wants(Part::Asof) {
        println!("== bench: (g) read models and balances as of a moment");
        past.asof = Some(asof::measure(server, &database, &past.history, plan).await?);
    }
    if wants(Part::Growth) {
        println!("== bench: (h) appending to a long ledger");
        past.growth = Some(growth::measure(server, &database, &past.history, plan).await?);
    }
    server.drop_database(database).await?;
    Ok(Some(past))
}

/// A ledger of that many events.
async fn filled(server: &Server, name: &str, events: u64) -> Result<(Database, History)> {
    let database = server.create_database(name).await?;
    database.migrate(in_repository("migrations")).await?;
    let pool = database.pool(CONNECTIONS).await?;
    let history = fill(&pool, events).await?;
    pool.close().await;
    server.checkpoint().await?;
    let seconds = history.filled_in.as_secs_f64();
    println!("   {} events in {seconds:.0} s, {} MiB with indexes", history.events, history.bytes / (1024 * 1024));
    Ok((database, history))
}
