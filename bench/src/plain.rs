//! (b) The peer: `cqrs-es` with `postgres-es` as its guide says, the same aggregate and the same payments.
//!
//! For each payment it reads the stream (it cannot know that there is none) and inserts the event in a transaction. It has
//! no positions and no claims: two payments of one order would both be created.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Result;
use postgres_es::{PostgresCqrs, default_postgress_pool, postgres_cqrs};
use sqlx::PgPool;
use wopay_domain::payment::{Payment, PaymentCommand};

use crate::in_bench;
use crate::measure::{Measurement, drive};
use crate::sample::{Sample, address};
use crate::server::{EventBytes, Server, event_bytes};

/// (name, tasks, connections); no number stands for the pool that `postgres-es` makes by default: 10 connections, each
/// pinged before use.
const RUNS: [(&str, u32, Option<u32>); 3] = [
    ("plain cqrs-es, its own pool (10 connections)", 1, None),
    ("plain cqrs-es, its own pool (10 connections)", 64, None),
    ("plain cqrs-es, 64 connections, no ping", 64, Some(64)),
];

/// Measures it.
pub(crate) async fn measure(server: &Server, duration: Duration) -> Result<(Vec<Measurement>, EventBytes)> {
    let database = server.create_database("bench_plain").await?;
    database.run_file(&in_bench("plain.sql")).await?;
    let numbers = Arc::new(AtomicU64::new(0));
    let mut measurements = Vec::new();
    for (name, concurrency, connections) in RUNS {
        let pool = match connections {
            Some(connections) => database.pool(connections).await?,
            None => default_postgress_pool(database.url()).await,
        };
        measurements.push(run(server, pool.clone(), name, concurrency, duration, Arc::clone(&numbers)).await?);
        pool.close().await;
    }
    let pool = database.pool(1).await?;
    let bytes = event_bytes(&pool).await?;
    pool.close().await;
    server.drop_database(database).await?;
    Ok((measurements, bytes))
}

async fn run(
    server: &Server,
    pool: PgPool,
    name: &str,
    concurrency: u32,
    duration: Duration,
    numbers: Arc<AtomicU64>,
) -> Result<Measurement> {
    let cqrs: Arc<PostgresCqrs<Payment>> = Arc::new(postgres_cqrs(pool, Vec::new(), ()));
    let sample = Arc::new(Sample::new()?);
    let operation = move |number| {
        let (cqrs, sample) = (Arc::clone(&cqrs), Arc::clone(&sample));
        async move {
            let create = sample.create(number, address(number));
            let id = create.payment_id.to_string();
            let command = PaymentCommand::Create(Box::new(create));
            cqrs.execute_with_metadata(&id, command, sample.metadata().to_map()).await?;
            Ok(())
        }
    };
    drive(server, ('b', name), concurrency, duration, numbers, operation).await
}
