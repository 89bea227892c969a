//! Every row of every read model, and how to lose them.

use sqlx::PgPool;
use wopay_eventbus::checkpoint;
use wopay_projections::{FOLLOWER, ReadModel};

fn tables() -> impl Iterator<Item = &'static str> {
    ReadModel::ALL.into_iter().flat_map(|model| model.tables()).copied()
}

/// Every row as Postgres writes it, with its table, in an order that depends on nothing else.
pub(crate) async fn snapshot(pool: &PgPool) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for table in tables() {
        let statement = format!("SELECT '{table} ' || row::text FROM {table} AS row ORDER BY 1");
        rows.extend(sqlx::query_scalar::<_, String>(&statement).fetch_all(pool).await.unwrap());
    }
    rows
}

/// Names and definitions of every index.
pub(crate) async fn index_names(pool: &PgPool) -> Vec<String> {
    let tables: Vec<&str> = tables().collect();
    let statement = "SELECT indexdef FROM pg_indexes WHERE tablename = ANY($1) ORDER BY 1";
    sqlx::query_scalar(statement).bind(tables).fetch_all(pool).await.unwrap()
}

/// Forgets the whole read side.
pub(crate) async fn clear(pool: &PgPool) {
    let mut tx = pool.begin().await.unwrap();
    let tables: Vec<&str> = tables().collect();
    sqlx::query(&format!("TRUNCATE {}", tables.join(", "))).execute(&mut *tx).await.unwrap();
    checkpoint::lock(&mut tx, FOLLOWER).await.unwrap();
    checkpoint::advance(&mut tx, FOLLOWER, 0).await.unwrap();
    tx.commit().await.unwrap();
}
