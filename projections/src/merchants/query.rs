//! Reads `merchants`. For operators: no merchant is ever shown another.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use wopay_domain::{MerchantId, SecretRef, Timestamp};

use super::FORGOTTEN_STATUS;
use crate::handler::FOLLOWER;
use crate::page::{Cursor, Page, as_of, page};

/// A merchant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MerchantRow {
    /// Its id.
    pub id: MerchantId,
    /// Its name, [`FORGOTTEN`](super::FORGOTTEN) if its profile was.
    pub name: String,
    /// Its e-mail address, `None` if its profile was forgotten.
    pub email: Option<String>,
    /// The public prefix of its newest live API key.
    pub api_key_prefix: Option<String>,
    /// Where that key's secret is sealed.
    pub api_secret: Option<SecretRef>,
    /// Where its webhooks go.
    pub webhook_url: Option<String>,
    /// Whether its requests are refused.
    pub suspended: bool,
    /// Whether it was forgotten, for ever.
    pub forgotten: bool,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When its last event happened.
    pub updated_at: Timestamp,
    /// The ledger position of its last event.
    pub position: i64,
}

/// A merchant.
///
/// # Errors
/// When the database cannot be asked.
pub async fn find(pool: &PgPool, id: MerchantId) -> Result<Option<MerchantRow>, sqlx::Error> {
    let row = sqlx::query("SELECT * FROM merchants WHERE id = $1").bind(id.as_uuid()).fetch_optional(pool).await?;
    row.as_ref().map(merchant).transpose()
}

/// Every merchant that was forgotten.
///
/// # Errors
/// When the database cannot be asked.
pub async fn forgotten(pool: &PgPool) -> Result<Vec<MerchantId>, sqlx::Error> {
    let ids: Vec<uuid::Uuid> =
        sqlx::query_scalar("SELECT id FROM merchants WHERE status = $1").bind(FORGOTTEN_STATUS).fetch_all(pool).await?;
    Ok(ids.into_iter().map(MerchantId::from_uuid).collect())
}

/// All merchants, newest first, at most `limit` of them after `cursor`.
///
/// # Errors
/// When the database cannot be asked.
pub async fn list(pool: &PgPool, cursor: Option<&Cursor>, limit: u16) -> Result<Page<MerchantRow>, sqlx::Error> {
    let statement = "
        SELECT head.as_of_position, listed.*
        FROM (SELECT COALESCE((SELECT position FROM follower_checkpoints WHERE name = $1), 0) AS as_of_position) AS head
        LEFT JOIN LATERAL (
            SELECT *
            FROM merchants
            WHERE $2::timestamptz IS NULL OR (created_at, id) < ($2, $3::uuid)
            ORDER BY created_at DESC, id DESC
            LIMIT $4
        ) AS listed ON true
        ORDER BY listed.created_at DESC, listed.id DESC";
    let rows = sqlx::query(statement)
        .bind(FOLLOWER)
        .bind(cursor.map(|cursor| cursor.created_at))
        .bind(cursor.map(|cursor| cursor.id))
        .bind(i64::from(limit).saturating_add(1))
        .fetch_all(pool)
        .await?;
    let answer = as_of(&rows, "id", merchant)?;
    Ok(page(answer, limit, |last| Cursor { created_at: last.created_at, id: last.id.as_uuid() }))
}

fn merchant(row: &PgRow) -> Result<MerchantRow, sqlx::Error> {
    let api_secret: Option<uuid::Uuid> = row.try_get("api_secret")?;
    let status: String = row.try_get("status")?;
    Ok(MerchantRow {
        id: MerchantId::from_uuid(row.try_get("id")?),
        name: row.try_get("name")?,
        email: row.try_get("email")?,
        api_key_prefix: row.try_get("api_key")?,
        api_secret: api_secret.map(SecretRef::from_uuid),
        webhook_url: row.try_get("webhook_url")?,
        suspended: status == "suspended",
        forgotten: status == FORGOTTEN_STATUS,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        position: row.try_get("position")?,
    })
}
