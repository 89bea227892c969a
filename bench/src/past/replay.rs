//! (e) Replay: every event read in global order, decoded and folded; beside the copy that carries the same rows and does
//! nothing with them, and beside the peers.

use anyhow::{Context as _, Result};
use serde::Serialize;
use tokio::process::Command;

use super::{Line, Plan};
use crate::history::History;
use crate::in_bench;
use crate::server::{Database, Server, copy};
use crate::work::{self, Done, Work};

/// Peers are asked for a rate, and sort or parse slowly: they get this many events at most.
const CQRS_ES_EVENTS_MAX: i64 = 1_000_000;
const EVENTSOURCING_EVENTS_MAX: i64 = 50_000;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Replay {
    /// `COPY events TO STDOUT`, drained by one core.
    pub(crate) copy_text: Done,
    /// The same rows by position and in binary, which is what the replay reads.
    pub(crate) copy_binary: Done,
    /// The replay.
    pub(crate) ours: Done,
    /// `stream_all_events`; or why it gave nothing.
    pub(crate) cqrs_es: Result<Done, String>,
    /// The Python package; or why there is no figure.
    pub(crate) eventsourcing: Result<Done, String>,
}

impl Replay {
    /// Events a second of the faster copy.
    pub(crate) fn floor_per_s(&self) -> f64 {
        self.copy_text.rate_per_s().max(self.copy_binary.rate_per_s())
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines = vec![
            Line::done('e', "COPY events TO STDOUT, drained", &self.copy_text),
            Line::done('e', "COPY … ORDER BY position, binary, drained", &self.copy_binary),
            Line::done('e', "replay: scan, decode, fold, one core", &self.ours),
        ];
        let peers = [
            ("cqrs-es stream_all_events, same fold, one core", &self.cqrs_es),
            ("eventsourcing (Python), its own store", &self.eventsourcing),
        ];
        lines.extend(peers.into_iter().filter_map(|(name, peer)| Some(Line::done('e', name, peer.as_ref().ok()?))));
        lines
    }
}

pub(super) async fn measure(
    server: &Server,
    database: &Database,
    history: &History,
    plan: &Plan<'_>,
) -> Result<Replay> {
    let run = async |work: Work| work.measure(server, database.url(), history.events, plan.scratch).await;
    // The first reading warms the server's caches for all.
    run(Work::CopyBinary).await?;
    let copy_text = run(Work::CopyText).await?;
    let copy_binary = run(Work::CopyBinary).await?;
    let ours = run(Work::Replay).await?;
    let cqrs_es = cqrs_es(server, database, history, plan).await.map_err(|error| format!("{error:#}"));
    let eventsourcing = eventsourcing(server, plan, history.events).await.map_err(|error| format!("{error:#}"));
    for (name, peer) in [("cqrs-es", &cqrs_es), ("eventsourcing", &eventsourcing)] {
        if let Err(reason) = peer {
            println!("   no figure of {name}: {reason}");
        }
    }
    Ok(Replay { copy_text, copy_binary, ours, cqrs_es, eventsourcing })
}

/// The same rows in a table as `postgres-es` asks for.
async fn cqrs_es(server: &Server, database: &Database, history: &History, plan: &Plan<'_>) -> Result<Done> {
    let plain = server.create_database("bench_plain_past").await?;
    plain.run_file(&in_bench("plain.sql")).await?;
    let events = history.events.min(CQRS_ES_EVENTS_MAX);
    let (from, to) = (database.pool(1).await?, plain.pool(1).await?);
    copy(
        &from,
        &format!(
            "COPY (SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata
                   FROM events WHERE position <= {events} AND aggregate_type = 'payment') TO STDOUT (FORMAT binary)"
        ),
        &to,
        "COPY events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         FROM STDIN (FORMAT binary)",
    )
    .await?;
    sqlx::query("VACUUM (ANALYZE) events").execute(&to).await?;
    let copied: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&to).await?;
    from.close().await;
    to.close().await;
    let done = Work::CqrsEs.measure(server, plain.url(), events, plan.scratch).await?;
    server.drop_database(plain).await?;
    // A failure of its query looks like the end of its stream.
    anyhow::ensure!(u64::try_from(copied)? == done.events, "it gave {} of {copied} events", done.events);
    Ok(done)
}

async fn eventsourcing(server: &Server, plan: &Plan<'_>, events: i64) -> Result<Done> {
    let package = plan.eventsourcing.as_ref().context("the package is not installed")?;
    let database = server.create_database("bench_eventsourcing").await?;
    let mut command = Command::new("python3");
    command.arg(in_bench("eventsourcing_replay.py")).arg(events.min(EVENTSOURCING_EVENTS_MAX).to_string());
    command.env("PYTHONPATH", package).env(work::URL_VARIABLE, database.url());
    let done = work::run(server, command, "eventsourcing").await?;
    server.drop_database(database).await?;
    Ok(Done { postgres_seconds: None, ..done })
}
