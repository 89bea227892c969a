//! (d) `POST /api/v1/payments` against the running gateway, by a load generator that is none of ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use sqlx::PgPool;

use crate::cpu;
use crate::gateway::{Gateway, Place};
use crate::generator::{Generator, Load};
use crate::measure::{Counters, CpuPerPayment, Measurement, bytes_per, difference, per};
use crate::ours::fill_pool;
use crate::server::{EventBytes, Server, event_bytes};

/// Connections of the load generator.
const CONNECTIONS: u32 = 64;
const WARM_UP: Duration = Duration::from_secs(2);
/// Memory needs longer than latency to settle.
const LONGER: u32 = 3;
/// More payments a second than it can take: how many addresses to have ready.
const RATE_MAX: u64 = 15_000;
/// Orders of the measured run begin here, far above the warm-up's.
const FIRST_ORDER: u64 = 1_000_000_000;
const MEMORY_POLL: Duration = Duration::from_millis(100);
const FOLLOWERS_POLL: Duration = Duration::from_millis(20);
const FOLLOWERS_WITHIN: Duration = Duration::from_secs(120);
/// What `custody.address_pool` is by default: the signer rests when it has derived so many.
const SIGNER_TARGET: i64 = 5_000;

/// What (d) yields besides its line.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Served {
    /// Which load generator.
    pub(crate) generator: &'static str,
    /// Whether the watchers role ran, on a local chain.
    pub(crate) watches: bool,
    /// Resident memory of `wopay serve` in KiB when it was ready, without load.
    pub(crate) memory_idle_kib: Option<u64>,
    /// Mean of the last third of the load.
    pub(crate) memory_steady_kib: Option<u64>,
    /// The most it ever was.
    pub(crate) memory_peak_kib: Option<u64>,
    /// Events that the slowest follower was behind when the load ended.
    pub(crate) followers_behind: i64,
    /// Seconds until every follower had all of them.
    pub(crate) followers_caught_up_s: f64,
    /// Size of its events.
    pub(crate) bytes: EventBytes,
}

/// Measures it.
pub(crate) async fn measure(
    server: &Server,
    place: Place<'_>,
    generator: &Generator,
    duration: Duration,
) -> Result<(Measurement, Served)> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
    let database = server.create_database("bench_http").await?;
    let gateway = Gateway::start(place, &database, &http).await?;
    let pool = database.pool(2).await?;
    let measured = load(server, &gateway, generator, &pool, duration * LONGER).await;
    pool.close().await;
    gateway.stop().await?;
    server.drop_database(database).await?;
    measured
}

async fn load(
    server: &Server,
    gateway: &Gateway,
    generator: &Generator,
    pool: &PgPool,
    duration: Duration,
) -> Result<(Measurement, Served)> {
    // The signer derives its share first; what SQL adds behind it is never derived, nor looked at again by the signer.
    wait_for_signer(pool).await?;
    fill_pool(pool, RATE_MAX * (duration + WARM_UP).as_secs()).await?;
    let memory_idle_kib = cpu::memory_kib(gateway.pid).map(|(now, _)| now);
    let url = format!("{}/api/v1/payments", gateway.url);
    generator.run(&url, &gateway.api_key, CONNECTIONS, 0, WARM_UP).await?;
    server.checkpoint().await?;

    let created_before = created(pool).await?;
    let memory = Memory::watch(gateway.pid);
    let process = cpu::of_process(gateway.pid);
    let nats = gateway.nats_pid.and_then(cpu::of_process);
    let children = cpu::collected_children();
    let counters = Counters::read(server).await?;
    let load = generator.run(&url, &gateway.api_key, CONNECTIONS, FIRST_ORDER, duration).await?;
    let spent = counters.spent(server).await?;
    let (behind, caught_up) = wait_for_followers(pool).await?;
    let memory_steady_kib = memory.stop().await?;

    let count = check(&load, created(pool).await? - created_before)?;
    let cpu = CpuPerPayment {
        process_us: per(difference(process, cpu::of_process(gateway.pid)), count),
        postgres_us: per(spent.postgres, count),
        nats_us: per(difference(nats, gateway.nats_pid.and_then(cpu::of_process)), count),
        generator_us: per(difference(children, cpu::collected_children()), count),
    };
    let measurement = Measurement {
        group: 'd',
        name: format!("POST /api/v1/payments, {}", generator.name()),
        concurrency: CONNECTIONS,
        rows: 1,
        rate_per_s: load.rate_per_s,
        latency: Some(load.latency),
        cpu,
        wal_bytes: bytes_per(spent.wal_bytes, count),
    };
    let served = Served {
        generator: generator.name(),
        watches: gateway.watches,
        memory_idle_kib,
        memory_steady_kib,
        memory_peak_kib: cpu::memory_kib(gateway.pid).map(|(_, peak)| peak),
        followers_behind: behind,
        followers_caught_up_s: caught_up.as_secs_f64(),
        bytes: event_bytes(pool).await?,
    };
    Ok((measurement, served))
}

/// The ledger must hold what the generator says was answered, and no more than what was in flight at its end besides.
fn check(load: &Load, created: i64) -> Result<u64> {
    let created = u64::try_from(created)?;
    let in_flight = created.checked_sub(load.requests);
    ensure!(
        in_flight.is_some_and(|in_flight| in_flight <= u64::from(CONNECTIONS)),
        "the generator counts {} payments, the ledger {created}",
        load.requests
    );
    Ok(created)
}

async fn created(pool: &PgPool) -> Result<i64> {
    let count = sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'PaymentCreated'");
    Ok(count.fetch_one(pool).await?)
}

/// Waits until the signer has derived what it keeps ready, so that it rests.
pub(crate) async fn wait_for_signer(pool: &PgPool) -> Result<()> {
    let deadline = Instant::now() + FOLLOWERS_WITHIN;
    loop {
        let filled: i64 = sqlx::query_scalar("SELECT count(*) FROM address_pool").fetch_one(pool).await?;
        if filled >= SIGNER_TARGET {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the signer derived only {filled} addresses");
        tokio::time::sleep(FOLLOWERS_POLL).await;
    }
}

/// How far the slowest follower is behind now, and how long it takes until none is.
async fn wait_for_followers(pool: &PgPool) -> Result<(i64, Duration)> {
    let started = Instant::now();
    let behind_at_first = followers_behind(pool).await?;
    let mut behind = behind_at_first;
    while behind > 0 {
        ensure!(started.elapsed() < FOLLOWERS_WITHIN, "a follower is still {behind} events behind");
        tokio::time::sleep(FOLLOWERS_POLL).await;
        behind = followers_behind(pool).await?;
    }
    Ok((behind_at_first, started.elapsed()))
}

async fn followers_behind(pool: &PgPool) -> Result<i64> {
    let behind: Option<i64> =
        sqlx::query_scalar("SELECT max(h.position - f.position) FROM ledger_head h, follower_checkpoints f")
            .fetch_one(pool)
            .await?;
    behind.context("the gateway has no followers")
}

/// Samples a process' resident memory.
struct Memory {
    stop: Arc<AtomicBool>,
    samples: tokio::task::JoinHandle<Vec<u64>>,
}

impl Memory {
    fn watch(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let samples = tokio::spawn(async move {
            let mut samples = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                samples.extend(cpu::memory_kib(pid).map(|(now, _)| now));
                tokio::time::sleep(MEMORY_POLL).await;
            }
            samples
        });
        Self { stop, samples }
    }

    /// The mean of the last third, in KiB.
    async fn stop(self) -> Result<Option<u64>> {
        self.stop.store(true, Ordering::Relaxed);
        let samples = self.samples.await?;
        let last = samples.get(samples.len() * 2 / 3..).unwrap_or_default();
        let sum: u64 = last.iter().sum();
        Ok(sum.checked_div(u64::try_from(last.len())?))
    }
}
