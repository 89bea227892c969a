//! Reads a merchant's events.

use serde::Deserialize;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use wopay_domain::{MerchantId, RawJson, RecordedEvent, merchant, payment};

use crate::decode::invalid;
use crate::handler::FOLLOWER;
use crate::model::ReadModel;
use crate::page::{AsOf, as_of};

/// An event in a merchant's feed.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedRow {
    /// Its number there: 1, 2, 3 … A number that is missing was not read.
    pub feed_sequence: i64,
    /// The event as it stands in the ledger.
    pub event: RecordedEvent,
}

/// A merchant's events after this number (0: from the first), at most `limit`.
///
/// # Errors
/// When the database cannot be asked.
pub async fn after(
    pool: &PgPool,
    merchant: MerchantId,
    after_feed_sequence: i64,
    limit: u16,
) -> Result<AsOf<Vec<FeedRow>>, sqlx::Error> {
    let statement = "
        SELECT head.as_of_position, event.*
        FROM (
            SELECT COALESCE((
                SELECT position
                FROM follower_checkpoints
                WHERE name = $1 AND EXISTS (SELECT FROM projection_versions WHERE model = $5)
            ), 0) AS as_of_position
        ) AS head
        LEFT JOIN LATERAL (
            SELECT own.feed_sequence, events.position, events.aggregate_type, events.aggregate_id, events.sequence,
                   events.event_type, events.event_version, events.payload::text AS payload,
                   events.metadata::text AS metadata, events.recorded_at
            FROM (
                SELECT feed_sequence, position
                FROM merchant_events
                WHERE merchant_id = $2 AND feed_sequence > $3
                ORDER BY feed_sequence
                LIMIT $4
            ) AS own
            JOIN events ON events.position = own.position
        ) AS event ON true
        ORDER BY event.feed_sequence";
    let rows = sqlx::query(statement)
        .bind(FOLLOWER)
        .bind(merchant.as_uuid())
        .bind(after_feed_sequence)
        .bind(i64::from(limit))
        .bind(ReadModel::Feed.as_str())
        .fetch_all(pool)
        .await?;
    as_of(&rows, "feed_sequence", |row| {
        Ok(FeedRow { feed_sequence: row.try_get("feed_sequence")?, event: event(row)? })
    })
}

/// Whose event stands at a position; `None` if it is nobody's, or not there. Asks the ledger itself, so it is never behind.
///
/// # Errors
/// When the database cannot be asked.
pub async fn owner(pool: &PgPool, position: i64) -> Result<Option<MerchantId>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT event.aggregate_type, event.aggregate_id, opening.payload::text AS opening
         FROM events AS event
         LEFT JOIN events AS opening
             ON event.aggregate_type = $2 AND opening.aggregate_type = $2
             AND opening.aggregate_id = event.aggregate_id AND opening.sequence = 1
         WHERE event.position = $1",
    )
    .bind(position)
    .bind(payment::AGGREGATE_TYPE)
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (aggregate_type, aggregate_id): (&str, &str) = (row.try_get("aggregate_type")?, row.try_get("aggregate_id")?);
    if aggregate_type == merchant::AGGREGATE_TYPE {
        return Ok(aggregate_id.parse().ok());
    }
    let opening: Option<&str> = row.try_get("opening")?;
    Ok(opening.and_then(merchant_of_payment))
}

/// Of a payment's first event, whose it is. Read here and not in SQL, whose JSON refuses texts with NUL.
pub(super) fn merchant_of_payment(payload: &str) -> Option<MerchantId> {
    #[derive(Deserialize)]
    enum Opening {
        PaymentCreated { merchant_id: MerchantId },
    }
    let Opening::PaymentCreated { merchant_id } = serde_json::from_str(payload).ok()?;
    Some(merchant_id)
}

fn event(row: &PgRow) -> Result<RecordedEvent, sqlx::Error> {
    let json = |column: &str| {
        let text: String = row.try_get(column)?;
        RawJson::parse(text).map_err(|error| invalid(column, error))
    };
    Ok(RecordedEvent {
        position: row.try_get("position")?,
        aggregate_type: row.try_get("aggregate_type")?,
        aggregate_id: row.try_get("aggregate_id")?,
        sequence: row.try_get("sequence")?,
        event_type: row.try_get("event_type")?,
        event_version: row.try_get("event_version")?,
        payload: json("payload")?,
        metadata: json("metadata")?,
        recorded_at: row.try_get("recorded_at")?,
    })
}
