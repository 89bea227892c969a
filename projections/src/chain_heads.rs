//! The heads of the chains, as far as the watchers have processed them. Read only: chain-watchers write them.

use sqlx::PgPool;
use wopay_domain::ChainName;

/// The height (or slot) up to which the watcher of this chain has processed blocks; `None` before its first.
///
/// # Errors
/// When the database cannot be asked.
pub async fn height(pool: &PgPool, chain: &ChainName) -> Result<Option<u64>, sqlx::Error> {
    let height: Option<i64> = sqlx::query_scalar("SELECT height FROM chain_heads WHERE chain = $1")
        .bind(chain.as_str())
        .fetch_optional(pool)
        .await?;
    Ok(height.and_then(|height| u64::try_from(height).ok()))
}
