//! What is stored opens, and nothing else does.

use sqlx::PgPool;
use uuid::Uuid;
use wopay_testkit::database;
use wopay_vault::{PLAINTEXT_BYTES_MAX, Sealed, Vault, VaultError, VaultKey};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn vault(pool: &PgPool) -> Vault {
    Vault::new(pool.clone(), VaultKey::from_hex(KEY).unwrap())
}

async fn change(pool: &PgPool, set: &str, reference: Uuid) {
    let statement = format!("UPDATE secrets SET {set} WHERE ref = $1");
    let done = sqlx::query(&statement).bind(reference).execute(pool).await.unwrap();
    assert_eq!(done.rows_affected(), 1);
}

#[tokio::test]
async fn what_is_stored_opens_here_and_in_another_process() {
    let pool = database().await.pool;
    let (here, subject) = (vault(&pool), Uuid::now_v7());
    for plaintext in [&b""[..], b"whsec_abc", &[0xff; PLAINTEXT_BYTES_MAX]] {
        let reference = here.store(subject, "webhook-secret", plaintext).await.unwrap();
        assert_eq!(&*here.open(reference).await.unwrap(), plaintext);
        assert_eq!(&*here.open(reference).await.unwrap(), plaintext, "from the cache");
        assert_eq!(&*vault(&pool).open(reference).await.unwrap(), plaintext);
    }
    let reference = here.store(subject, "profile", b"a@b.example").await.unwrap();
    assert_eq!(here.open(reference).await.unwrap().as_str().unwrap(), "a@b.example");
    let stored: Vec<u8> =
        sqlx::query_scalar("SELECT sealed FROM secrets WHERE ref = $1").bind(reference).fetch_one(&pool).await.unwrap();
    assert!(!stored.windows(5).any(|window| window == b"a@b.e"), "never in clear");
}

#[tokio::test]
async fn a_row_altered_in_any_column_does_not_open() {
    let pool = database().await.pool;
    let (vault_of_writer, subject) = (vault(&pool), Uuid::now_v7());
    let alterations = [
        "sealed = set_byte(sealed, 0, get_byte(sealed, 0) # 1)",
        "sealed = set_byte(sealed, 1, get_byte(sealed, 1) # 128)",
        "sealed = set_byte(sealed, 13, get_byte(sealed, 13) # 1)",
        "sealed = set_byte(sealed, length(sealed) - 1, get_byte(sealed, length(sealed) - 1) # 1)",
        "sealed = substring(sealed FROM 1 FOR length(sealed) - 1)",
        "sealed = ''",
        "kind = 'api-secret'",
        "by_subject = false",
    ];
    for alteration in alterations {
        let reference = vault_of_writer.store(subject, "webhook-secret", b"whsec_abc").await.unwrap();
        change(&pool, alteration, reference).await;
        let error = vault(&pool).open(reference).await.unwrap_err();
        assert!(matches!(error, VaultError::Tampered(found) if found == reference), "{alteration}: {error:?}");
    }

    let reference = vault_of_writer.store(subject, "webhook-secret", b"whsec_abc").await.unwrap();
    change(&pool, "subject = gen_random_uuid()", reference).await;
    assert!(matches!(vault(&pool).open(reference).await.unwrap_err(), VaultError::NoSubjectKey { .. }));
    let other = Uuid::now_v7();
    vault_of_writer.store(other, "webhook-secret", b"whsec_abc").await.unwrap();
    change(&pool, &format!("subject = '{other}'"), reference).await;
    assert!(matches!(vault(&pool).open(reference).await.unwrap_err(), VaultError::Tampered(_)));

    let reference = vault_of_writer.store(subject, "webhook-secret", b"whsec_abc").await.unwrap();
    change(&pool, "key_id = overlay(key_id PLACING 'x' FROM 1)", reference).await;
    assert!(matches!(vault(&pool).open(reference).await.unwrap_err(), VaultError::WrongKey { .. }));

    let reference = vault_of_writer.store(subject, "webhook-secret", b"whsec_abc").await.unwrap();
    let moved: Uuid = sqlx::query_scalar("UPDATE secrets SET ref = gen_random_uuid() WHERE ref = $1 RETURNING ref")
        .bind(reference)
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(matches!(vault(&pool).open(moved).await.unwrap_err(), VaultError::Tampered(_)));
    assert!(matches!(vault(&pool).open(reference).await.unwrap_err(), VaultError::NotFound(_)));
}

#[tokio::test]
async fn swapped_rows_do_not_open() {
    let pool = database().await.pool;
    let (writer, subject) = (vault(&pool), Uuid::now_v7());
    let first = writer.store(subject, "webhook-secret", b"first").await.unwrap();
    let second = writer.store(subject, "webhook-secret", b"second").await.unwrap();
    let statement = "
        UPDATE secrets AS a
        SET sealed = b.sealed
        FROM secrets AS b
        WHERE a.ref <> b.ref";
    sqlx::query(statement).execute(&pool).await.unwrap();
    for reference in [first, second] {
        let error = vault(&pool).open(reference).await.unwrap_err();
        assert!(matches!(error, VaultError::Tampered(_)), "{error:?}");
    }
}

#[tokio::test]
async fn another_key_is_recognised_as_such() {
    let pool = database().await.pool;
    let (writer, other) = (vault(&pool), Vault::new(pool.clone(), VaultKey::generate()));
    writer.check_key().await.unwrap();
    other.check_key().await.unwrap();
    let subject = Uuid::now_v7();
    let reference = writer.store(subject, "profile", b"{}").await.unwrap();
    let expected_id = VaultKey::from_hex(KEY).unwrap().id().to_string();
    writer.check_key().await.unwrap();
    for error in [other.open(reference).await.unwrap_err(), other.check_key().await.unwrap_err()] {
        let VaultError::WrongKey { what, expected, given } = error else { panic!("{error:?}") };
        assert_eq!((what, &expected), (Sealed::SubjectKey(subject), &expected_id));
        assert_ne!(given.to_string(), expected_id);
    }
}

#[tokio::test]
async fn storing_again_under_a_reference_changes_nothing() {
    let pool = database().await.pool;
    let (vault, reference, subject) = (vault(&pool), Uuid::now_v7(), Uuid::now_v7());
    for _ in 0..2 {
        vault.store_with(reference, subject, "profile", b"value").await.unwrap();
    }
    let others = [
        vault.store_with(reference, subject, "profile", b"other").await,
        vault.store_with(reference, subject, "api-secret", b"value").await,
        vault.store_with(reference, Uuid::now_v7(), "profile", b"value").await,
    ];
    for refused in others {
        assert!(matches!(refused, Err(VaultError::Taken(taken)) if taken == reference), "{refused:?}");
    }
    assert_eq!(&*vault.open(reference).await.unwrap(), b"value");
    let too_large = vault.store(subject, "profile", &[0; PLAINTEXT_BYTES_MAX + 1]).await;
    assert!(matches!(too_large, Err(VaultError::TooLarge { .. })));
}

#[tokio::test]
async fn digests_meet_under_one_key_only() {
    let pool = database().await.pool;
    let (one, other) = (vault(&pool), Vault::new(pool.clone(), VaultKey::generate()));
    assert_eq!(one.digest("a@b.example"), vault(&pool).digest("a@b.example"));
    assert_ne!(one.digest("a@b.example"), one.digest("a@b.exampl"));
    assert_ne!(one.digest("a@b.example"), other.digest("a@b.example"));
    assert_eq!(one.digest("").len(), 64);
}
