//! Access keys: their claims, their standing, and how other processes learn of changes.

use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wopay_commands::merchant_changes::{MerchantChange, watch};
use wopay_commands::{Claim, ExecuteError, Executed, KeyHolder, Ledger, LoadError};
use wopay_domain::access::{AccessKeyError, AccessKeyState, AccessRole, IssueAccessKey};
use wopay_domain::merchant::{MerchantCommand, MerchantPolicy, RegisterMerchant};
use wopay_domain::{AccessKeyId, ApiKeyId, SecretRef};

use crate::merchants::{Heard, watcher_pool};
use crate::support::{assert_whole, count, create, ledger, merchant_id, metadata, now};

fn key_id() -> AccessKeyId {
    AccessKeyId::from_uuid(Uuid::now_v7())
}

async fn issue(
    ledger: &Ledger,
    key_id: AccessKeyId,
    role: AccessRole,
    hash: &str,
) -> Result<Executed<AccessKeyState>, ExecuteError<AccessKeyError>> {
    let issue = IssueAccessKey { key_id, role, label: "books".to_owned(), prefix: "wa_".to_owned(), at: now() };
    ledger.issue_access_key(issue, hash, &metadata()).await
}

async fn found(ledger: &Ledger, hash: &str) -> Option<AccessKeyState> {
    match ledger.key_holder(hash).await.unwrap()? {
        KeyHolder::Access(key) => Some(key),
        KeyHolder::Merchant(merchant, _) => panic!("merchant {} holds it", merchant.id),
    }
}

#[tokio::test]
async fn a_key_is_issued_found_revoked_and_listed() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let (finance, auditor) = (key_id(), key_id());
    let issued = issue(&ledger, finance, AccessRole::Finance, "a").await.unwrap();
    assert_eq!((issued.position, issued.sequence), (Some(1), 1));
    issue(&ledger, auditor, AccessRole::Auditor, "b").await.unwrap();
    assert_eq!(found(&ledger, "a").await, Some(issued.state));
    assert_eq!(found(&ledger, "b").await.unwrap().role, AccessRole::Auditor);
    assert_eq!(found(&ledger, "c").await, None);

    let revoked = ledger.revoke_access_key(finance, now(), &metadata()).await.unwrap();
    assert_eq!(revoked.position, Some(3));
    assert!(!found(&ledger, "a").await.unwrap().is_live(), "a revoked key is found, and refused");
    let again = ledger.revoke_access_key(finance, now(), &metadata()).await.unwrap();
    assert_eq!((again.position, again.state), (None, revoked.state));
    let nobody = ledger.revoke_access_key(key_id(), now(), &metadata()).await.unwrap_err();
    assert!(matches!(nobody, ExecuteError::Domain(AccessKeyError::NotFound)));

    let listed: Vec<_> =
        ledger.access_keys().await.unwrap().into_iter().map(|key| (key.id, key.role, key.is_live())).collect();
    assert_eq!(listed, [(finance, AccessRole::Finance, false), (auditor, AccessRole::Auditor, true)]);
    assert_whole(&database.pool).await;
}

#[tokio::test]
async fn no_key_is_given_twice_nor_to_a_merchant_too() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let first = key_id();
    issue(&ledger, first, AccessRole::Finance, "a").await.unwrap();
    let same_hash = issue(&ledger, key_id(), AccessRole::Auditor, "a").await.unwrap_err();
    assert!(matches!(same_hash, ExecuteError::ClaimTaken(taken) if taken.holder == first.to_string()));
    let same_id = issue(&ledger, first, AccessRole::Auditor, "b").await.unwrap_err();
    assert!(matches!(same_id, ExecuteError::Domain(AccessKeyError::AlreadyIssued)));
    assert_eq!(found(&ledger, "b").await, None);

    let merchant = RegisterMerchant {
        merchant_id: merchant_id(),
        profile: SecretRef::from_uuid(Uuid::now_v7()),
        policy: MerchantPolicy::default(),
        at: now(),
    };
    let claims = vec![Claim::api_key("a", ApiKeyId::from_uuid(Uuid::now_v7()))];
    let webhook =
        MerchantCommand::ConfigureWebhook { url: None, secret: SecretRef::from_uuid(Uuid::now_v7()), at: now() };
    let taken = ledger.register_merchant(merchant, "digest", vec![webhook], claims, &metadata()).await.unwrap_err();
    assert!(matches!(taken, ExecuteError::ClaimTaken(_)));
    assert_eq!(count(&database.pool, "SELECT count(*) FROM events").await, 1);
}

#[tokio::test]
async fn a_claim_cannot_say_more_than_the_event_does() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let id = key_id();
    issue(&ledger, id, AccessRole::Finance, "a").await.unwrap();
    // As whoever can write the table might: the same key as an auditor's, and another hash for it.
    for (hash, role) in [("forged", "auditor"), ("stranger", "finance")] {
        sqlx::query("INSERT INTO claims (kind, key, aggregate_id, detail) VALUES ('api-key', $1, $2, $3::json)")
            .bind(hash)
            .bind(if hash == "forged" { id } else { key_id() }.to_string())
            .bind(serde_json::json!({ "key_id": id, "role": role }).to_string())
            .execute(&database.pool)
            .await
            .unwrap();
        assert!(matches!(ledger.key_holder(hash).await, Err(LoadError::Corrupt(_))), "{hash}");
    }
}

#[tokio::test]
async fn a_key_revoked_by_many_at_once_is_revoked_once() {
    let database = wopay_testkit::database().await;
    let (one, other) = (ledger(&database.pool), ledger(&database.pool));
    let id = key_id();
    issue(&one, id, AccessRole::Finance, "a").await.unwrap();
    let revoke = async |number: usize| {
        let ledger = if number.is_multiple_of(2) { &one } else { &other };
        ledger.revoke_access_key(id, now(), &metadata()).await.unwrap().position
    };
    let positions = join_all((0..16).map(revoke)).await;
    assert_eq!(positions.iter().flatten().count(), 1);
    assert_whole(&database.pool).await;
}

#[tokio::test]
async fn changes_of_keys_are_told_and_losers_are_not() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let (heard, token) = (Heard::default(), CancellationToken::new());
    let watching = tokio::spawn({
        let (heard, pool, token) = (heard.clone(), watcher_pool(&database.url).await, token.clone());
        async move { watch(pool, token, move |change| heard.0.lock().unwrap().push(change)).await }
    });
    heard.wait_for("watching", |heard| heard == [MerchantChange::Watching]).await;
    let id = key_id();
    ledger.create_payment(create(merchant_id(), "payments are not told"), &metadata(), None).await.unwrap();
    issue(&ledger, id, AccessRole::Finance, "a").await.unwrap();
    issue(&ledger, key_id(), AccessRole::Finance, "a").await.unwrap_err();
    ledger.revoke_access_key(id, now(), &metadata()).await.unwrap();
    let told = [MerchantChange::Watching, MerchantChange::AccessKey(id), MerchantChange::AccessKey(id)];
    heard.wait_for("both changes", |heard| heard == told).await;
    token.cancel();
    watching.await.unwrap();
}
