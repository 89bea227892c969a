//! A ledger with a past: as many realistic events as asked for, put in by `COPY` with the claims that go with them.

mod copy;
mod random;
mod world;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;
use sqlx::PgPool;
use sqlx::postgres::PgPoolCopyExt as _;
use tokio::sync::mpsc;
use wopay_domain::{AssetId, MerchantId, Timestamp};

pub(crate) use random::Random;
pub(crate) use world::MERCHANTS;
use world::World;

/// Events in one statement.
const CHUNK: usize = 20_000;
/// Chunks made ahead of the copying.
const AHEAD: usize = 2;
const SEED: u64 = 2026;

/// A history as it was put in.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct History {
    /// Its events.
    pub(crate) events: i64,
    /// Bytes of the table `events` with its indexes.
    pub(crate) bytes: i64,
    /// How long that took, making the events included.
    pub(crate) filled_in: Duration,
    /// Merchants, those with the most payments first.
    #[serde(skip)]
    pub(crate) merchants: Vec<MerchantId>,
    /// Assets that are paid with.
    #[serde(skip)]
    pub(crate) assets: Vec<AssetId>,
}

/// What goes in at once.
struct Chunk {
    count: i64,
    events: Vec<u8>,
    claims: Vec<u8>,
    last_at: Timestamp,
}

/// Fills an empty ledger with exactly `events` events.
pub(crate) async fn fill(pool: &PgPool, events: u64) -> Result<History> {
    let started = Instant::now();
    let (sender, mut chunks) = mpsc::channel(AHEAD);
    let world = World::new(SEED, events)?;
    let (merchants, assets) = (world.merchants().collect(), world.assets().cloned().collect());
    let maker = std::thread::spawn(move || make(world, events, &sender));
    let mut last_at = None;
    let mut count = 0;
    while let Some(chunk) = chunks.recv().await {
        let chunk: Chunk = chunk;
        send(pool, copy::EVENTS, chunk.events).await?;
        send(pool, copy::CLAIMS, chunk.claims).await?;
        count += chunk.count;
        last_at = Some(chunk.last_at);
    }
    maker.join().ok().context("the maker of events panicked")??;
    sqlx::query("UPDATE ledger_head SET position = $1, recorded_at = $2")
        .bind(count)
        .bind(last_at.context("a history has events")?)
        .execute(pool)
        .await?;
    // What the server would do by itself in time: every measurement finds the same state.
    sqlx::query("VACUUM (ANALYZE) events").execute(pool).await?;
    sqlx::query("VACUUM (ANALYZE) claims").execute(pool).await?;
    let bytes = sqlx::query_scalar("SELECT pg_total_relation_size('events')").fetch_one(pool).await?;
    Ok(History { events: count, bytes, filled_in: started.elapsed(), merchants, assets })
}

fn make(mut world: World, events: u64, sender: &mpsc::Sender<Chunk>) -> Result<()> {
    let mut position = 1;
    let mut left = usize::try_from(events)?;
    let (mut written, mut claims) = (Vec::with_capacity(CHUNK + 64), Vec::new());
    world.register(&mut written)?;
    while left > 0 {
        let wanted = CHUNK.min(left);
        while written.len() < wanted {
            world.advance(&mut written, &mut claims)?;
        }
        let rest = written.split_off(wanted);
        let count = i64::try_from(written.len())?;
        let chunk = Chunk {
            count,
            events: copy::events(&written, position),
            claims: copy::claims(&claims),
            last_at: written.last().context("a chunk has events")?.at,
        };
        position += count;
        left -= wanted;
        claims.clear();
        written = rest;
        if sender.blocking_send(chunk).is_err() {
            break;
        }
    }
    Ok(())
}

async fn send(pool: &PgPool, statement: &str, rows: Vec<u8>) -> Result<()> {
    let mut copy = pool.copy_in_raw(statement).await?;
    copy.send(rows).await?;
    copy.finish().await?;
    Ok(())
}
