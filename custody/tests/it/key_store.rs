//! One seed for a ledger, sealed, and never another one where money could lie.

use futures::future::join_all;
use sqlx::PgPool;
use wopay_custody::{KeyStore, KeyStoreError, MnemonicError, PoolError, PoolFiller, WhenMissing};
use wopay_domain::ChainFamily;
use wopay_testkit::database;
use wopay_vault::MasterKey;

const JUNK: &str = "test test test test test test test test test test test junk";
const ABANDON: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

async fn execute(pool: &PgPool, statement: &str) {
    let done = sqlx::query(statement).execute(pool).await.unwrap();
    assert!(done.rows_affected() > 0, "{statement}");
}

async fn seeds(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM wallet_seeds").fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn a_seed_is_made_once_and_only_when_asked_for() {
    let pool = database().await.pool;
    let master = MasterKey::generate();
    let refused = KeyStore::open(&pool, &master, WhenMissing::Refuse).await.unwrap_err();
    assert!(matches!(refused, KeyStoreError::Missing), "{refused:?}");
    assert_eq!(seeds(&pool).await, 0);

    let made = KeyStore::open(&pool, &master, WhenMissing::Create).await.unwrap();
    for missing in [WhenMissing::Create, WhenMissing::Refuse] {
        let opened = KeyStore::open(&pool, &master, missing).await.unwrap();
        assert_eq!(opened.export_mnemonic(), made.export_mnemonic());
    }
    assert_eq!(made.export_mnemonic().split(' ').count(), 24);
    assert_eq!(format!("{made:?}"), format!("KeyStore {{ seed: Seed({}) }}", made.fingerprint()));
}

#[tokio::test]
async fn first_starts_at_the_same_moment_share_one_seed() {
    let database = database().await;
    let master = MasterKey::generate();
    let pools = join_all((0..8).map(|_| database.extra_pool(2))).await;
    let starts = pools.iter().chain(&pools).map(|pool| KeyStore::open(pool, &master, WhenMissing::Create));
    let opened: Vec<_> = join_all(starts).await.into_iter().map(|store| store.unwrap().fingerprint()).collect();
    assert!(opened.iter().all(|fingerprint| *fingerprint == opened[0]), "{opened:?}");
    assert_eq!(seeds(&database.pool).await, 1);
}

#[tokio::test]
async fn another_master_key_is_refused_and_named() {
    let pool = database().await.pool;
    let (master, other) = (MasterKey::generate(), MasterKey::generate());
    let made = KeyStore::open(&pool, &master, WhenMissing::Create).await.unwrap();
    let words = made.export_mnemonic();
    let refused = [
        KeyStore::open(&pool, &other, WhenMissing::Create).await.unwrap_err(),
        KeyStore::open(&pool, &other, WhenMissing::Refuse).await.unwrap_err(),
        KeyStore::import(&pool, &other, &words).await.unwrap_err(),
    ];
    for error in refused {
        let text = error.to_string();
        assert!(matches!(error, KeyStoreError::WrongMasterKey { .. }), "{error:?}");
        assert!(text.contains(&master.id().to_string()) && text.contains(&other.id().to_string()), "{text}");
    }
    assert_eq!(KeyStore::open(&pool, &master, WhenMissing::Refuse).await.unwrap().fingerprint(), made.fingerprint());
}

#[tokio::test]
async fn an_altered_row_does_not_open() {
    let alterations = [
        "sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1)",
        "sealed = set_byte(sealed, length(sealed) - 1, get_byte(sealed, length(sealed) - 1) # 1)",
        "sealed = ''",
        "fingerprint = '00000000'",
    ];
    for alteration in alterations {
        let pool = database().await.pool;
        let master = MasterKey::generate();
        KeyStore::open(&pool, &master, WhenMissing::Create).await.unwrap();
        execute(&pool, &format!("UPDATE wallet_seeds SET {alteration}")).await;
        let error = KeyStore::open(&pool, &master, WhenMissing::Create).await.unwrap_err();
        assert!(matches!(error, KeyStoreError::Tampered(_)), "{alteration}: {error:?}");
    }
}

#[tokio::test]
async fn a_backup_restores_the_wallet_elsewhere() {
    let (here, there) = (database().await.pool, database().await.pool);
    let made = KeyStore::open(&here, &MasterKey::generate(), WhenMissing::Create).await.unwrap();
    let (master, words) = (MasterKey::generate(), made.export_mnemonic());
    for _ in 0..2 {
        let imported = KeyStore::import(&there, &master, &words).await.unwrap();
        assert_eq!(imported.fingerprint(), made.fingerprint());
    }
    let opened = KeyStore::open(&there, &master, WhenMissing::Refuse).await.unwrap();
    assert_eq!(opened.export_mnemonic(), words);

    let other = KeyStore::import(&there, &master, JUNK).await.unwrap_err();
    assert!(matches!(other, KeyStoreError::OtherWallet { .. }), "{other:?}");
    let wrong = KeyStore::import(&there, &master, "test junk").await.unwrap_err();
    assert!(matches!(wrong, KeyStoreError::Mnemonic(MnemonicError::WordCount(2))), "{wrong:?}");
}

#[tokio::test]
async fn a_lost_seed_is_never_replaced_by_another() {
    let pool = database().await.pool;
    let master = MasterKey::generate();
    let wallet = KeyStore::import(&pool, &master, ABANDON).await.unwrap();
    PoolFiller::new(pool.clone(), vec![wallet.address_deriver(ChainFamily::Evm).unwrap()], 10).fill().await.unwrap();
    execute(&pool, "DELETE FROM wallet_seeds").await;
    for missing in [WhenMissing::Create, WhenMissing::Refuse] {
        let error = KeyStore::open(&pool, &master, missing).await.unwrap_err();
        assert!(matches!(error, KeyStoreError::SeedLost), "{error:?}");
    }
    let other = KeyStore::import(&pool, &master, JUNK).await.unwrap_err();
    assert!(matches!(other, KeyStoreError::Pool(PoolError::WrongWallet { .. })), "{other:?}");
    assert_eq!(seeds(&pool).await, 0);
    KeyStore::import(&pool, &MasterKey::generate(), ABANDON).await.unwrap();
}
