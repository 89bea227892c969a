//! (g) Read models made from all events, and balances as of random moments of the past.

use std::time::Instant;

use anyhow::{Context as _, Result};
use chrono::TimeDelta;
use serde::Serialize;
use sqlx::PgPool;
use wopay_domain::ledger::Account;
use wopay_domain::{AssetId, Timestamp};
use wopay_projections::{AsOfPoint, journal};

use super::{Line, Plan};
use crate::history::{History, MERCHANTS, Random};
use crate::latency::{Latencies, Percentiles};
use crate::server::{Database, Server};
use crate::work::{Done, Work};

/// Questions of each kind.
const QUESTIONS: u64 = 2_000;
/// Before anything counts.
const WARM_UP: u64 = 50;
const SEED: u64 = 7;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AsOf {
    /// The journal from the first event.
    pub(crate) rebuild_journal: Done,
    /// Every read model.
    pub(crate) rebuild: Done,
    /// One account's balance as of a position.
    pub(crate) position: Percentiles,
    /// As of a recorded time.
    pub(crate) recorded: Percentiles,
    /// As of a position, counting what had taken effect by some time.
    pub(crate) effective: Percentiles,
}

/// Which moment is asked for.
#[derive(Clone, Copy, Debug)]
enum Axis {
    Position,
    Recorded,
    Effective,
}

impl AsOf {
    pub(super) fn lines(&self) -> Vec<Line> {
        let asked = |name: &str, latency: Percentiles| Line {
            group: 'g',
            name: name.to_owned(),
            count: QUESTIONS,
            rate_per_s: 1e6 / f64::from(latency.p50_us.max(1)),
            process_us: None,
            postgres_us: None,
            peak_kib: None,
            latency: Some(latency),
            note: None,
        };
        vec![
            Line::done('g', "rebuilding the journal", &self.rebuild_journal),
            Line::done('g', "rebuilding every read model", &self.rebuild),
            asked("balance as of a position", self.position),
            asked("balance as of a recorded time", self.recorded),
            asked("balance as of a position and a block time", self.effective),
        ]
    }
}

pub(super) async fn measure(server: &Server, database: &Database, history: &History, plan: &Plan<'_>) -> Result<AsOf> {
    let pool = database.pool(1).await?;
    // A rebuild goes as far as the follower has come.
    sqlx::query(
        "INSERT INTO follower_checkpoints (name, position, updated_at) VALUES ('projections', $1, now())
         ON CONFLICT (name) DO UPDATE SET position = EXCLUDED.position",
    )
    .bind(history.events)
    .execute(&pool)
    .await?;
    let run = async |work: Work| work.measure(server, database.url(), history.events, plan.scratch).await;
    let rebuild_journal = run(Work::RebuildJournal).await?;
    let rebuild = run(Work::Rebuild).await?;
    server.checkpoint().await?;
    let (first, last): (Timestamp, Timestamp) = sqlx::query_as(
        "SELECT (SELECT recorded_at FROM events WHERE position = 1),
                (SELECT recorded_at FROM events WHERE position = $1)",
    )
    .bind(history.events)
    .fetch_one(&pool)
    .await?;
    let asked = Asked { pool: &pool, history, first, span: last - first };
    let measured = AsOf {
        rebuild_journal,
        rebuild,
        position: asked.ask(Axis::Position).await?,
        recorded: asked.ask(Axis::Recorded).await?,
        effective: asked.ask(Axis::Effective).await?,
    };
    pool.close().await;
    Ok(measured)
}

struct Asked<'a> {
    pool: &'a PgPool,
    history: &'a History,
    first: Timestamp,
    span: TimeDelta,
}

impl Asked<'_> {
    /// One question after the other, each about another account and moment.
    async fn ask(&self, axis: Axis) -> Result<Percentiles> {
        let mut random = Random::new(SEED);
        let mut latencies = Latencies::default();
        for number in 0..QUESTIONS + WARM_UP {
            let (account, asset) = self.account(&mut random)?;
            let point = self.moment(axis, &mut random)?;
            let started = Instant::now();
            journal::balance(self.pool, &account, &asset, point).await?;
            if number >= WARM_UP {
                latencies.record(started.elapsed());
            }
        }
        latencies.percentiles().context("questions were asked")
    }

    /// Of four, one is custody, the largest accounts there are; the others merchants'.
    fn account(&self, random: &mut Random) -> Result<(Account, AssetId)> {
        let assets = u64::try_from(self.history.assets.len())?;
        let asset = self.history.assets[usize::try_from(random.below(assets))?].clone();
        let merchant = usize::try_from(random.below(u64::try_from(MERCHANTS)?))?;
        let account = match random.below(4) {
            0 => Account::Custody(asset.chain().parse()?),
            _ => Account::MerchantPayable(self.history.merchants[merchant]),
        };
        Ok((account, asset))
    }

    fn moment(&self, axis: Axis, random: &mut Random) -> Result<AsOfPoint> {
        let position = 1 + i64::try_from(random.below(u64::try_from(self.history.events)?))?;
        let span_us = u64::try_from(self.span.num_microseconds().context("a history has a length")?)?;
        let time = self.first + TimeDelta::microseconds(i64::try_from(random.below(span_us))?);
        Ok(match axis {
            Axis::Position => AsOfPoint::position(position),
            Axis::Recorded => AsOfPoint { recorded: Some(time), ..AsOfPoint::NOW },
            Axis::Effective => AsOfPoint { effective: Some(time), ..AsOfPoint::position(position) },
        })
    }
}
