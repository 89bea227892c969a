//! (c) The gateway's command path in this process: an address from a lease, then `Ledger::create_payment`.
//!
//! The address pool is filled ahead by SQL with addresses that belong to nobody: deriving them is the signer's work, done
//! ahead of need and measured by itself ([`derivation_rate`]).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sqlx::PgPool;
use wopay_commands::{AddressLeases, Created, Ledger, LedgerOptions};
use wopay_custody::{KeyStore, WhenMissing};
use wopay_domain::ChainFamily;
use wopay_eventbus::AppendSignal;
use wopay_vault::MasterKey;

use crate::in_repository;
use crate::measure::{Measurement, WARM_UP, drive};
use crate::sample::Sample;
use crate::server::{EventBytes, Server, event_bytes};

/// As the gateway's own pool; appends go through a connection of their own.
pub(crate) const CONNECTIONS: u32 = 10;
/// `custody.address_lease` of the gateway.
const ADDRESS_LEASE: u32 = 200;
/// (tasks, more payments a second than they can make): how many addresses to have ready.
const RUNS: [(u32, u64); 4] = [(1, 5_000), (8, 20_000), (64, 40_000), (512, 60_000)];
const DERIVED_AT_ONCE: u32 = 500;

/// Measures it, and how many addresses a second one core derives.
pub(crate) async fn measure(
    server: &Server,
    options: LedgerOptions,
    duration: Duration,
) -> Result<(Vec<Measurement>, EventBytes, f64)> {
    let database = server.create_database("bench_ours").await?;
    database.migrate(in_repository("migrations")).await?;
    let pool = database.pool(CONNECTIONS).await?;
    let numbers = Arc::new(AtomicU64::new(0));
    let mut measurements = Vec::new();
    for (concurrency, rate_max) in RUNS {
        let what = ('c', "Ledger::create_payment");
        let load = (concurrency, rate_max, duration);
        measurements.push(create_payments(server, &pool, options, what, load, Arc::clone(&numbers)).await?);
    }
    let bytes = event_bytes(&pool).await?;
    let derived = derivation_rate(&pool).await?;
    pool.close().await;
    server.drop_database(database).await?;
    Ok((measurements, bytes, derived))
}

/// Creates payments for a while: `(tasks, more payments a second than they can make, how long)`.
pub(crate) async fn create_payments(
    server: &Server,
    pool: &PgPool,
    options: LedgerOptions,
    what: (char, &str),
    (concurrency, rate_max, duration): (u32, u64, Duration),
    numbers: Arc<AtomicU64>,
) -> Result<Measurement> {
    fill_pool(pool, rate_max * (duration + WARM_UP).as_secs().max(1)).await?;
    let ledger = Ledger::start(pool.clone(), AppendSignal::new(), options);
    let addresses = AddressLeases::new(pool.clone(), ADDRESS_LEASE);
    let sample = Arc::new(Sample::new()?);
    let working = ledger.clone();
    let operation = move |number| {
        let (ledger, addresses, sample) = (working.clone(), addresses.clone(), Arc::clone(&sample));
        async move {
            let address = addresses.take(ChainFamily::Evm).await?;
            let created = ledger.create_payment(sample.create(number, address), &sample.metadata(), None).await?;
            ensure!(matches!(created, Created::New { .. }), "payment {number} existed already");
            Ok(())
        }
    };
    let measured = drive(server, what, concurrency, duration, numbers, operation).await;
    ledger.shutdown().await;
    measured
}

/// Puts addresses into the pool until at least `count` are left. Spread like real ones, so that the indexes work as hard.
pub(crate) async fn fill_pool(pool: &PgPool, count: u64) -> Result<()> {
    sqlx::query(
        "WITH had AS (
             SELECT coalesce((SELECT max(idx) + 1 FROM address_pool WHERE family = 'evm'), 0) AS size,
                    coalesce((SELECT next_idx FROM address_cursors WHERE family = 'evm'), 0) AS used
         )
         INSERT INTO address_pool (family, idx, address)
         SELECT 'evm', n, '0x' || md5(n::text) || left(md5('more' || n::text), 8)
         FROM had, generate_series(had.size, had.used + $1 - 1) AS n",
    )
    .bind(i64::try_from(count)?)
    .execute(pool)
    .await?;
    Ok(())
}

/// Addresses a second that one thread derives from a new wallet, for about a second.
async fn derivation_rate(pool: &PgPool) -> Result<f64> {
    // Its pool of addresses must be empty, or there is a wallet already.
    sqlx::query("TRUNCATE address_pool, address_cursors").execute(pool).await?;
    let keys = KeyStore::open(pool, &MasterKey::generate(), WhenMissing::Create).await?;
    let deriver = keys.address_deriver(ChainFamily::Evm)?;
    let measured = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        let mut derived = 0;
        while started.elapsed() < Duration::from_secs(1) {
            deriver.addresses(derived..derived + DERIVED_AT_ONCE)?;
            derived += DERIVED_AT_ONCE;
        }
        anyhow::Ok(f64::from(derived) / started.elapsed().as_secs_f64())
    });
    measured.await?
}
