//! The peer: `stream_all_events` of `postgres-es`, over a table of the same rows. Its order is by sequence, not global;
//! that is enough for these sums.

use anyhow::Result;
use cqrs_es::persist::PersistedEventRepository as _;
use postgres_es::PostgresEventRepository;
use sqlx::PgPool;
use wopay_domain::LedgerEvent;
use wopay_domain::payment::Payment;

use super::Counted;
use super::books::Books;

/// Every event of every payment, deserialized and folded.
pub(super) async fn replay(pool: &PgPool) -> Result<Counted> {
    let mut books = Books::default();
    let mut stream = PostgresEventRepository::new(pool.clone()).stream_all_events::<Payment>().await?;
    while let Some(event) = stream.next::<Payment>(&[]).await {
        let event = event?;
        books.fold(&event.aggregate_id, &LedgerEvent::Payment(event.payload))?;
    }
    let (events, result) = books.result();
    Ok((events, Some(result)))
}
