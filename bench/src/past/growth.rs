//! (h) What an append costs in a long ledger, beside one of a hundred thousand events. The two are measured in turns, so
//! that neither has the quieter machine.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{Line, Plan, filled};
use crate::history::History;
use crate::measure::Measurement;
use crate::ours::create_payments;
use crate::server::{Database, Server};

const SMALL_EVENTS: u64 = 100_000;
const TURNS: usize = 2;
const CONCURRENCY: u32 = 64;
/// More payments a second than are made.
const RATE_MAX: u64 = 45_000;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Growth {
    /// Events of the short ledger, before.
    pub(crate) small_events: i64,
    /// Events of the long one, before.
    pub(crate) large_events: i64,
    /// Turns on the short one.
    pub(crate) small: Vec<Measurement>,
    /// Turns on the long one.
    pub(crate) large: Vec<Measurement>,
}

impl Growth {
    /// How much longer an append takes in the long ledger: best turn against best turn.
    pub(crate) fn by_rate(&self) -> Option<f64> {
        Some(best(&self.small, |one| one.rate_per_s)? / best(&self.large, |one| one.rate_per_s)?)
    }

    /// How much more CPU time it takes, this process and Postgres together: cheapest turn against cheapest turn.
    pub(crate) fn by_cpu(&self) -> Option<f64> {
        let cheapest = |turns: &[Measurement]| turns.iter().filter_map(cpu_us).reduce(f64::min);
        Some(cheapest(&self.large)? / cheapest(&self.small)?)
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        let line = |turn: &Measurement| Line {
            group: 'h',
            name: turn.name.clone(),
            count: 0,
            rate_per_s: turn.rate_per_s,
            process_us: turn.cpu.process_us,
            postgres_us: turn.cpu.postgres_us,
            peak_kib: None,
            latency: turn.latency,
            note: None,
        };
        self.small.iter().chain(&self.large).map(line).collect()
    }
}

fn best(turns: &[Measurement], figure: impl Fn(&Measurement) -> f64) -> Option<f64> {
    turns.iter().map(figure).reduce(f64::max)
}

fn cpu_us(turn: &Measurement) -> Option<f64> {
    Some(turn.cpu.process_us? + turn.cpu.postgres_us?)
}

pub(super) async fn measure(
    server: &Server,
    database: &Database,
    history: &History,
    plan: &Plan<'_>,
) -> Result<Growth> {
    let (short, short_history) = filled(server, "bench_short", SMALL_EVENTS).await?;
    let (mut small, mut large) = (Vec::new(), Vec::new());
    let numbers = Arc::new(AtomicU64::new(0));
    for _ in 0..TURNS {
        for (database, history, turns) in [(&short, &short_history, &mut small), (database, history, &mut large)] {
            let pool = database.pool(crate::ours::CONNECTIONS).await?;
            let name = format!("create_payment in a ledger of {} events", history.events);
            let load = (CONCURRENCY, RATE_MAX, plan.duration);
            let measured = create_payments(server, &pool, plan.options, ('h', &name), load, Arc::clone(&numbers)).await;
            turns.push(measured.with_context(|| name.clone())?);
            pool.close().await;
        }
    }
    server.drop_database(short).await?;
    Ok(Growth { small_events: short_history.events, large_events: history.events, small, large })
}
