//! The pool holds this wallet's addresses, ahead of the cursor, and refuses to hold any other's.

use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use wopay_custody::{KeyStore, PoolError, PoolFiller, WhenMissing};
use wopay_domain::ChainFamily;
use wopay_testkit::{database, eventually};
use wopay_vault::MasterKey;

use crate::independent::evm_addresses;

const SOON: Duration = Duration::from_secs(30);

pub(crate) async fn wallet(pool: &PgPool) -> KeyStore {
    KeyStore::open(pool, &MasterKey::generate(), WhenMissing::Create).await.unwrap()
}

pub(crate) fn filler(pool: &PgPool, wallet: &KeyStore, target: u32) -> PoolFiller {
    PoolFiller::new(pool.clone(), vec![wallet.address_deriver(ChainFamily::Evm).unwrap()], target)
}

/// Every row, by index.
pub(crate) async fn rows(pool: &PgPool) -> Vec<(i64, String)> {
    let statement = "SELECT idx, address FROM address_pool WHERE family = 'evm' ORDER BY idx";
    sqlx::query_as(statement).fetch_all(pool).await.unwrap()
}

pub(crate) async fn end(pool: &PgPool) -> i64 {
    let statement = "SELECT coalesce(max(idx) + 1, 0) FROM address_pool WHERE family = 'evm'";
    sqlx::query_scalar(statement).fetch_one(pool).await.unwrap()
}

/// Moves the cursor as `commands` does when it leases addresses.
pub(crate) async fn set_cursor(pool: &PgPool, next: i64) {
    let statement = "
        INSERT INTO address_cursors (family, next_idx)
        VALUES ('evm', $1)
        ON CONFLICT (family) DO UPDATE SET next_idx = excluded.next_idx";
    sqlx::query(statement).bind(next).execute(pool).await.unwrap();
}

/// Rows are 0, 1, 2 … and each address is the one that other code derives.
pub(crate) async fn assert_exact(pool: &PgPool, wallet: &KeyStore) {
    let rows = rows(pool).await;
    let count = u32::try_from(rows.len()).unwrap();
    let expected: Vec<_> = (0..).zip(evm_addresses(&wallet.export_mnemonic(), count)).collect();
    assert!(rows == expected, "{count} rows differ from an independent derivation");
}

#[tokio::test]
async fn rows_are_what_other_code_derives_and_a_restart_continues() {
    let pool = database().await.pool;
    let wallet = wallet(&pool).await;
    assert_eq!(filler(&pool, &wallet, 0).fill_to(1203).await.unwrap(), 1203);
    let before = rows(&pool).await;
    assert_eq!(filler(&pool, &wallet, 0).fill_to(1203).await.unwrap(), 0);
    assert_eq!(filler(&pool, &wallet, 0).fill_to(1500).await.unwrap(), 297);
    assert_eq!(rows(&pool).await[..1203], before);
    assert_exact(&pool, &wallet).await;
}

#[tokio::test]
async fn a_running_filler_stays_ahead_of_the_cursor_until_cancelled() {
    let pool = database().await.pool;
    let wallet = wallet(&pool).await;
    let token = CancellationToken::new();
    let task = tokio::spawn(filler(&pool, &wallet, 40).run(token.clone()));
    for cursor in [0, 1, 39, 40, 90, 700] {
        set_cursor(&pool, cursor).await;
        eventually("the pool to be full", SOON, async || (end(&pool).await == cursor + 40).then_some(())).await;
    }
    token.cancel();
    tokio::time::timeout(SOON, task).await.unwrap().unwrap().unwrap();
    assert_exact(&pool, &wallet).await;
}

#[tokio::test]
async fn a_failing_database_is_waited_out() {
    let database = database().await;
    let (pool, pool_of_filler) = (&database.pool, database.extra_pool(1).await);
    let wallet = wallet(pool).await;
    sqlx::query("ALTER TABLE address_pool RENAME TO elsewhere").execute(pool).await.unwrap();
    let token = CancellationToken::new();
    let task = tokio::spawn(filler(&pool_of_filler, &wallet, 40).run(token.clone()));
    let has_failed = "
        SELECT EXISTS (
            SELECT
            FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
              AND query LIKE '%FROM address_pool%' AND state = 'idle')";
    eventually("the filler to fail", SOON, async || {
        let failed: bool = sqlx::query_scalar(has_failed).fetch_one(pool).await.unwrap();
        failed.then_some(())
    })
    .await;
    sqlx::query("ALTER TABLE elsewhere RENAME TO address_pool").execute(pool).await.unwrap();
    eventually("the pool to be full", SOON, async || (end(pool).await == 40).then_some(())).await;
    token.cancel();
    tokio::time::timeout(SOON, task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn another_wallet_is_refused_and_adds_nothing() {
    let (pool, elsewhere) = (database().await.pool, database().await.pool);
    let (own, other) = (wallet(&pool).await, wallet(&elsewhere).await);
    filler(&pool, &own, 20).fill().await.unwrap();
    let before = rows(&pool).await;
    set_cursor(&pool, 20).await;
    let other = filler(&pool, &other, 20);
    let refused = [
        other.verify().await.unwrap_err(),
        other.fill().await.unwrap_err(),
        other.clone().run(CancellationToken::new()).await.unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, PoolError::WrongWallet { .. }), "{error:?}");
    }
    assert_eq!(rows(&pool).await, before);
}

#[tokio::test]
async fn altered_and_missing_rows_are_refused() {
    let pool = database().await.pool;
    let wallet = wallet(&pool).await;
    let filler = filler(&pool, &wallet, 60);
    filler.fill().await.unwrap();
    filler.verify().await.unwrap();
    for index in [0, 31, 59] {
        let mine = format!("UPDATE address_pool SET address = '0xbad' || address WHERE idx = {index}");
        sqlx::query(&mine).execute(&pool).await.unwrap();
        let error = filler.verify().await.unwrap_err();
        assert!(matches!(&error, PoolError::WrongWallet { index: at, .. } if at.get() == index), "{error:?}");
        if index == 59 {
            set_cursor(&pool, 1).await;
            assert!(matches!(filler.fill().await.unwrap_err(), PoolError::WrongWallet { .. }), "also while running");
        }
        let back = format!("UPDATE address_pool SET address = substr(address, 6) WHERE idx = {index}");
        sqlx::query(&back).execute(&pool).await.unwrap();
        filler.verify().await.unwrap();
    }
    sqlx::query("DELETE FROM address_pool WHERE idx = 5").execute(&pool).await.unwrap();
    let error = filler.verify().await.unwrap_err();
    assert!(matches!(error, PoolError::Gap { rows: 59, last: 59, .. }), "{error:?}");
}

#[tokio::test]
async fn the_account_ends_where_bip32_ends() {
    let pool = database().await.pool;
    let wallet = wallet(&pool).await;
    let deriver = wallet.address_deriver(ChainFamily::Evm).unwrap();
    let last = (1_u32 << 31) - 1;
    let address = deriver.addresses(last..last + 1).unwrap().remove(0);
    sqlx::query("INSERT INTO address_pool (family, idx, address) VALUES ('evm', $1, $2)")
        .bind(i64::from(last))
        .bind(address)
        .execute(&pool)
        .await
        .unwrap();
    set_cursor(&pool, i64::from(last)).await;
    let error = filler(&pool, &wallet, 10).fill().await.unwrap_err();
    assert!(matches!(error, PoolError::Exhausted(_)), "{error:?}");
}
