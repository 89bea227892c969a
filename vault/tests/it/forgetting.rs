//! A key for each subject: destroying it forgets the subject, and rows of earlier versions come under it.

use sqlx::PgPool;
use uuid::Uuid;
use wopay_testkit::database;
use wopay_vault::{Forgotten, Resealed, Sealer, Vault, VaultError, VaultKey};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn key() -> VaultKey {
    VaultKey::from_hex(KEY).unwrap()
}

fn vault(pool: &PgPool) -> Vault {
    Vault::new(pool.clone(), key())
}

/// A row as the version before stored it: under the master key.
async fn store_as_before(pool: &PgPool, subject: Uuid, kind: &str, plaintext: &[u8]) -> Uuid {
    let reference = Uuid::now_v7();
    let sealer = Sealer::new(&key());
    let context = [reference.as_bytes().as_slice(), subject.as_bytes(), kind.as_bytes()].concat();
    let statement = "INSERT INTO secrets (ref, subject, kind, sealed, key_id) VALUES ($1, $2, $3, $4, $5)";
    sqlx::query(statement)
        .bind(reference)
        .bind(subject)
        .bind(kind)
        .bind(sealer.seal(&context, plaintext))
        .bind(sealer.key_id().to_string())
        .execute(pool)
        .await
        .unwrap();
    reference
}

async fn sealed(pool: &PgPool, reference: Uuid) -> Vec<u8> {
    sqlx::query_scalar("SELECT sealed FROM secrets WHERE ref = $1").bind(reference).fetch_one(pool).await.unwrap()
}

async fn put(pool: &PgPool, reference: Uuid, sealed: &[u8], by_subject: bool) {
    let statement = "UPDATE secrets SET sealed = $2, by_subject = $3 WHERE ref = $1";
    sqlx::query(statement).bind(reference).bind(sealed).bind(by_subject).execute(pool).await.unwrap();
}

#[tokio::test]
async fn a_forgotten_subject_is_gone_and_others_stay() {
    let pool = database().await.pool;
    let (vault_here, subject) = (vault(&pool), Uuid::now_v7());
    let profile = vault_here.store(subject, "profile", b"a").await.unwrap();
    let secret = vault_here.store(subject, "webhook-secret", b"b").await.unwrap();
    let kept = vault_here.store(Uuid::now_v7(), "profile", b"c").await.unwrap();
    vault_here.open(profile).await.unwrap();
    let backup = sealed(&pool, secret).await;

    assert_eq!(vault_here.forget(subject).await.unwrap(), Forgotten { is_new: true, secrets: 2 });
    assert_eq!(vault_here.forget(subject).await.unwrap(), Forgotten { is_new: false, secrets: 0 });
    for reference in [profile, secret] {
        for vault in [&vault_here, &vault(&pool)] {
            let error = vault.open(reference).await.unwrap_err();
            assert!(
                matches!(error, VaultError::Forgotten(who) if who == subject),
                "not from the cache either: {error}"
            );
        }
    }
    assert_eq!(&*vault_here.open(kept).await.unwrap(), b"c");
    let stored = vault_here.store(subject, "profile", b"again").await;
    assert!(matches!(stored, Err(VaultError::Forgotten(_))), "{stored:?}");

    // A copy of the row, from wherever, does not open: its key is gone.
    put(&pool, secret, &backup, true).await;
    assert!(matches!(vault(&pool).open(secret).await.unwrap_err(), VaultError::Forgotten(_)));
    put(&pool, secret, &backup, false).await;
    assert!(matches!(vault(&pool).open(secret).await.unwrap_err(), VaultError::Forgotten(_)));
    vault(&pool).check_key().await.unwrap();
}

#[tokio::test]
async fn a_destroyed_key_is_never_replaced() {
    let pool = database().await.pool;
    let (vault, subject, unknown) = (vault(&pool), Uuid::now_v7(), Uuid::now_v7());
    let reference = vault.store(subject, "profile", b"a").await.unwrap();
    let key: Vec<u8> = sqlx::query_scalar("SELECT sealed FROM subject_keys").fetch_one(&pool).await.unwrap();
    vault.forget(subject).await.unwrap();
    for revival in
        ["UPDATE subject_keys SET sealed = $1, destroyed_at = NULL", "DELETE FROM subject_keys WHERE $1 IS NOT NULL"]
    {
        let error = sqlx::query(revival).bind(&key).execute(&pool).await.unwrap_err();
        assert!(error.to_string().contains("was destroyed, for ever"), "{error}");
    }
    vault.delete_subject(subject).await.unwrap();
    assert!(matches!(vault.store(subject, "profile", b"b").await, Err(VaultError::Forgotten(_))));
    assert!(matches!(vault.open(reference).await, Err(VaultError::NotFound(_))));
    // Also for a subject of whom nothing was stored yet.
    assert_eq!(vault.forget(unknown).await.unwrap(), Forgotten { is_new: true, secrets: 0 });
    assert!(matches!(vault.store(unknown, "profile", b"b").await, Err(VaultError::Forgotten(_))));
}

#[tokio::test]
async fn a_subject_that_came_to_nothing_leaves_nothing() {
    let pool = database().await.pool;
    let (vault, subject) = (vault(&pool), Uuid::now_v7());
    for _ in 0..2 {
        vault.store(subject, "profile", b"a").await.unwrap();
        assert_eq!(vault.delete_subject(subject).await.unwrap(), 1);
    }
    let left: i64 = sqlx::query_scalar("SELECT (SELECT count(*) FROM subject_keys) + (SELECT count(*) FROM secrets)")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn rows_of_the_version_before_open_and_come_under_their_subjects_key() {
    let pool = database().await.pool;
    let (one, other, gone) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let first = store_as_before(&pool, one, "profile", b"first").await;
    let second = store_as_before(&pool, one, "webhook-secret", b"second").await;
    let third = store_as_before(&pool, other, "profile", b"third").await;
    let of_gone = store_as_before(&pool, gone, "profile", b"personal").await;
    let damaged = store_as_before(&pool, other, "api-secret", b"damaged").await;
    put(&pool, damaged, b"nonsense", false).await;
    assert_eq!(&*vault(&pool).open(first).await.unwrap(), b"first");
    let before = sealed(&pool, of_gone).await;
    vault(&pool).forget(gone).await.unwrap();
    // As if an older copy of the table had come back.
    put(&pool, of_gone, &before, false).await;

    // New and old rows of one subject live beside each other.
    let fourth = vault(&pool).store(one, "api-secret", b"fourth").await.unwrap();
    let (here, there) = (vault(&pool), vault(&pool));
    let (done, too) = tokio::join!(here.reseal(), there.reseal());
    let (done, too) = (done.unwrap(), too.unwrap());
    assert_eq!((done.resealed + too.resealed, done.damaged.max(too.damaged)), (4, 1));
    assert_eq!(vault(&pool).reseal().await.unwrap(), Resealed { resealed: 0, damaged: 1 });

    for (reference, plaintext) in [(first, &b"first"[..]), (second, b"second"), (third, b"third"), (fourth, b"fourth")]
    {
        assert_eq!(&*vault(&pool).open(reference).await.unwrap(), plaintext);
    }
    assert!(sealed(&pool, of_gone).await.is_empty());
    assert!(matches!(vault(&pool).open(damaged).await.unwrap_err(), VaultError::Tampered(_)));
    vault(&pool).forget(one).await.unwrap();
    for reference in [first, second, fourth] {
        assert!(matches!(vault(&pool).open(reference).await.unwrap_err(), VaultError::Forgotten(_)));
    }
    assert_eq!(&*vault(&pool).open(third).await.unwrap(), b"third");
}

#[tokio::test]
async fn keys_of_subjects_are_bound_to_them_and_to_the_master_key() {
    let pool = database().await.pool;
    let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
    let first = vault(&pool).store(one, "profile", b"first").await.unwrap();
    let second = vault(&pool).store(other, "profile", b"second").await.unwrap();
    let swap = "UPDATE subject_keys AS a SET sealed = b.sealed FROM subject_keys AS b WHERE a.subject <> b.subject";
    sqlx::query(swap).execute(&pool).await.unwrap();
    for reference in [first, second] {
        let error = vault(&pool).open(reference).await.unwrap_err();
        assert!(matches!(error, VaultError::TamperedSubjectKey(_)), "{error:?}");
    }
    sqlx::query(swap).execute(&pool).await.unwrap();
    assert_eq!(&*vault(&pool).open(first).await.unwrap(), b"first");
    sqlx::query("DELETE FROM subject_keys WHERE subject = $1").bind(one).execute(&pool).await.unwrap();
    let error = vault(&pool).open(first).await.unwrap_err();
    assert!(matches!(error, VaultError::NoSubjectKey { subject, .. } if subject == one), "{error:?}");
    let stranger = Vault::new(pool.clone(), VaultKey::generate());
    assert!(matches!(stranger.store(other, "profile", b"x").await, Err(VaultError::WrongKey { .. })));
}

#[tokio::test]
async fn of_many_who_store_first_for_a_subject_one_key_remains() {
    let pool = database().await.pool;
    let subject = Uuid::now_v7();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..12_u8 {
        let vault = vault(&pool);
        tasks.spawn(async move { vault.store(subject, "profile", &[number]).await.unwrap() });
    }
    tasks.join_all().await;
    let references: Vec<Uuid> = sqlx::query_scalar("SELECT ref FROM secrets").fetch_all(&pool).await.unwrap();
    assert_eq!(references.len(), 12);
    for reference in references {
        vault(&pool).open(reference).await.unwrap();
    }
}
