//! What a measurement yields, and the in-process load that (b) and (c) share.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::cpu;
use crate::latency::{Latencies, Percentiles};
use crate::server::Server;

/// Caches fill and pools connect before anything counts.
pub(crate) const WARM_UP: Duration = Duration::from_secs(1);

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measurement {
    /// `a`, `b`, `c` or `d`.
    pub(crate) group: char,
    /// What was measured.
    pub(crate) name: String,
    /// Clients, tasks or connections at work.
    pub(crate) concurrency: u32,
    /// Rows that one operation writes.
    pub(crate) rows: u32,
    /// Payments (event rows) written a second.
    pub(crate) rate_per_s: f64,
    /// Latency of one operation; of one batch where rows are batched.
    pub(crate) latency: Option<Percentiles>,
    /// CPU time for each payment.
    pub(crate) cpu: CpuPerPayment,
    /// Bytes of write-ahead log for each payment.
    pub(crate) wal_bytes: Option<i64>,
}

/// CPU time for each payment in microseconds, user and system; `None` where it cannot be known.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct CpuPerPayment {
    /// The process under test: this one for (b) and (c), `wopay serve` for (d).
    pub(crate) process_us: Option<f64>,
    /// All processes of Postgres.
    pub(crate) postgres_us: Option<f64>,
    /// nats-server.
    pub(crate) nats_us: Option<f64>,
    /// pgbench, or the HTTP load generator.
    pub(crate) generator_us: Option<f64>,
}

/// What the counters said at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters {
    own: Option<Duration>,
    postgres: Option<Duration>,
    wal_bytes: i64,
}

/// What the counters moved by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    /// CPU time of this process.
    pub(crate) own: Option<Duration>,
    /// CPU time of Postgres.
    pub(crate) postgres: Option<Duration>,
    /// Bytes of write-ahead log.
    pub(crate) wal_bytes: i64,
}

impl Counters {
    /// Reads them.
    pub(crate) async fn read(server: &Server) -> Result<Self> {
        let wal_bytes = server.wal_bytes().await?;
        Ok(Self { own: cpu::own(), postgres: server.cpu(), wal_bytes })
    }

    /// How far they have moved.
    pub(crate) async fn spent(self, server: &Server) -> Result<Spent> {
        let now = Self::read(server).await?;
        Ok(Spent {
            own: difference(self.own, now.own),
            postgres: difference(self.postgres, now.postgres),
            wal_bytes: now.wal_bytes - self.wal_bytes,
        })
    }
}

/// How far a counter moved, where both readings exist.
pub(crate) fn difference(before: Option<Duration>, after: Option<Duration>) -> Option<Duration> {
    Some(after?.saturating_sub(before?))
}

/// Microseconds for each of `count`.
pub(crate) fn per(total: Option<Duration>, count: u64) -> Option<f64> {
    (count > 0).then_some(total?.as_secs_f64() * 1e6 / count as f64)
}

/// Bytes for each of `count`.
pub(crate) fn bytes_per(total: i64, count: u64) -> Option<i64> {
    i64::try_from(count).ok().filter(|count| *count > 0).map(|count| total / count)
}

/// Keeps `concurrency` operations in flight for the warm-up and `duration`, and measures the latter. Operations get a
/// number of their own from `numbers`.
pub(crate) async fn drive<F, Fut>(
    server: &Server,
    (group, name): (char, &str),
    concurrency: u32,
    duration: Duration,
    numbers: Arc<AtomicU64>,
    operation: F,
) -> Result<Measurement>
where
    F: Fn(u64) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    server.checkpoint().await?;
    let measured_from = Instant::now() + WARM_UP;
    let until = measured_from + duration;
    let workers: Vec<_> = (0..concurrency)
        .map(|_| {
            let (operation, numbers) = (operation.clone(), Arc::clone(&numbers));
            tokio::spawn(async move {
                let mut latencies = Latencies::default();
                loop {
                    let started = Instant::now();
                    if started >= until {
                        return anyhow::Ok(latencies);
                    }
                    operation(numbers.fetch_add(1, Ordering::Relaxed)).await?;
                    let ended = Instant::now();
                    if ended >= measured_from && ended < until {
                        latencies.record(ended - started);
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep_until(measured_from.into()).await;
    let counters = Counters::read(server).await?;
    tokio::time::sleep_until(until.into()).await;
    let spent = counters.spent(server).await?;
    let mut latencies = Latencies::default();
    for worker in workers {
        latencies.merge(worker.await.context("a worker panicked")??);
    }
    let count = u64::try_from(latencies.count())?;
    Ok(Measurement {
        group,
        name: name.to_owned(),
        concurrency,
        rows: 1,
        rate_per_s: count as f64 / duration.as_secs_f64(),
        latency: latencies.percentiles(),
        cpu: CpuPerPayment {
            process_us: per(spent.own, count),
            postgres_us: per(spent.postgres, count),
            ..CpuPerPayment::default()
        },
        wal_bytes: bytes_per(spent.wal_bytes, count),
    })
}
