//! Merchants: their claims, and how other processes learn of changes.

use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wopay_commands::merchant_changes::{MerchantChange, watch};
use wopay_commands::{Claim, ClaimKind, ExecuteError, Executed, KeyHolder, Ledger};
use wopay_domain::merchant::{MerchantCommand, MerchantError, MerchantPolicy, MerchantState, RegisterMerchant};
use wopay_domain::{ApiKeyId, MerchantId, SecretRef};
use wopay_testkit::eventually;

use crate::support::{assert_whole, count, create, ledger, merchant_id, metadata, now};

fn secret() -> SecretRef {
    SecretRef::from_uuid(Uuid::now_v7())
}

fn issue(key_id: ApiKeyId) -> MerchantCommand {
    MerchantCommand::IssueApiKey { key_id, prefix: "wp_".to_owned(), secret: secret(), at: now() }
}

async fn register(
    ledger: &Ledger,
    id: MerchantId,
    email: &str,
    key: &str,
    key_id: ApiKeyId,
) -> Result<Executed<MerchantState>, ExecuteError<MerchantError>> {
    let register =
        RegisterMerchant { merchant_id: id, profile: secret(), policy: MerchantPolicy::default(), at: now() };
    let webhook = MerchantCommand::ConfigureWebhook { url: None, secret: secret(), at: now() };
    let claims = vec![Claim::api_key(key, key_id)];
    ledger.register_merchant(register, email, vec![issue(key_id), webhook], claims, &metadata()).await
}

async fn holder(ledger: &Ledger, key: &str) -> (MerchantState, ApiKeyId) {
    match ledger.key_holder(key).await.unwrap().unwrap() {
        KeyHolder::Merchant(merchant, key_id) => (*merchant, key_id),
        KeyHolder::Access(key) => panic!("the house holds {key:?}"),
    }
}

#[tokio::test]
async fn a_merchant_is_registered_with_its_key_in_one_append_and_found_by_it() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let (id, key_id) = (merchant_id(), ApiKeyId::from_uuid(Uuid::now_v7()));
    let executed = register(&ledger, id, "digest", "hash", key_id).await.unwrap();
    assert_eq!((executed.position, executed.sequence), (Some(3), 3));
    assert_eq!(ledger.merchant(id).await.unwrap().unwrap(), executed.state);
    let (found, found_key) = holder(&ledger, "hash").await;
    assert_eq!((found.id, found_key), (id, key_id));
    assert!(found.accepts(found_key));
    assert!(ledger.key_holder("other").await.unwrap().is_none());
    let revoke = MerchantCommand::RevokeApiKey { key_id, at: now() };
    ledger.execute_merchant(id, revoke, Vec::new(), &metadata()).await.unwrap();
    let (found, found_key) = holder(&ledger, "hash").await;
    assert!(!found.accepts(found_key), "a revoked key is found, and refused");
    let email_again = register(&ledger, merchant_id(), "digest", "hash2", key_id).await.unwrap_err();
    assert!(matches!(email_again, ExecuteError::ClaimTaken(taken) if taken.claim.kind() == ClaimKind::MerchantEmail));
    let key_again = register(&ledger, merchant_id(), "digest2", "hash", key_id).await.unwrap_err();
    assert!(matches!(key_again, ExecuteError::ClaimTaken(taken) if taken.holder == id.to_string()));
    assert_eq!(count(&database.pool, "SELECT count(*) FROM events").await, 4);
    assert_whole(&database.pool).await;
}

#[tokio::test]
async fn a_merchant_that_does_not_exist_refuses_and_creation_needs_its_claims() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let suspend = MerchantCommand::Suspend { reason: "x".to_owned(), at: now() };
    let missing = ledger.execute_merchant(merchant_id(), suspend, Vec::new(), &metadata()).await.unwrap_err();
    assert!(matches!(missing, ExecuteError::Domain(MerchantError::NotFound)));
    let wanted = create(merchant_id(), "1");
    let id = wanted.payment_id;
    let command = wopay_domain::payment::PaymentCommand::Create(Box::new(wanted));
    let without_claims = ledger.execute_payment(id, command, &metadata()).await.unwrap_err();
    assert!(matches!(without_claims, ExecuteError::Append(_)));
    assert!(ledger.payment(id).await.unwrap().is_none());
}

#[derive(Clone, Default)]
pub(crate) struct Heard(pub(crate) Arc<Mutex<Vec<MerchantChange>>>);

impl Heard {
    pub(crate) fn all(&self) -> Vec<MerchantChange> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) async fn wait_for(&self, what: &str, wanted: impl Fn(&[MerchantChange]) -> bool) {
        eventually(what, Duration::from_secs(20), async || wanted(&self.all()).then_some(())).await;
    }
}

pub(crate) async fn watcher_pool(url: &str) -> PgPool {
    let options = PgConnectOptions::from_str(url).unwrap().application_name("test-watcher");
    PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap()
}

async fn kill_listener(pool: &PgPool) {
    let statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'test-watcher'";
    let killed: Vec<bool> = sqlx::query_scalar(statement).fetch_all(pool).await.unwrap();
    assert_eq!(killed, [true]);
}

#[tokio::test]
async fn changes_are_told_and_blindness_too() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let (heard, token) = (Heard::default(), CancellationToken::new());
    let watching = tokio::spawn({
        let (heard, pool, token) = (heard.clone(), watcher_pool(&database.url).await, token.clone());
        async move { watch(pool, token, move |change| heard.0.lock().unwrap().push(change)).await }
    });
    heard.wait_for("watching", |heard| heard == [MerchantChange::Watching]).await;
    let (id, key_id) = (merchant_id(), ApiKeyId::from_uuid(Uuid::now_v7()));
    ledger.create_payment(create(id, "payments are not told"), &metadata(), None).await.unwrap();
    register(&ledger, id, "digest", "hash", key_id).await.unwrap();
    let told = [MerchantChange::Watching, MerchantChange::Merchant(id)];
    heard.wait_for("the merchant", |heard| heard == told).await;
    // A loser is not a change.
    register(&ledger, merchant_id(), "digest", "hash2", key_id).await.unwrap_err();
    kill_listener(&database.pool).await;
    let told = [told[0], told[1], MerchantChange::Blind, MerchantChange::Watching];
    heard.wait_for("watching again", |heard| heard == told).await;
    let revoke = MerchantCommand::RevokeApiKey { key_id, at: now() };
    ledger.execute_merchant(id, revoke, Vec::new(), &metadata()).await.unwrap();
    heard.wait_for("the revocation", |heard| heard.last() == Some(&MerchantChange::Merchant(id))).await;
    token.cancel();
    watching.await.unwrap();
    assert_eq!(heard.all().last(), Some(&MerchantChange::Blind));
}
