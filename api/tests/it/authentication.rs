use chrono::Utc;
use tokio_util::sync::CancellationToken;
use wopay_commands::merchant_changes::{self, MerchantChange};
use wopay_domain::Metadata;
use wopay_domain::access::AccessRole;
use wopay_domain::merchant::MerchantCommand;
use wopay_testkit::eventually;

use crate::support::{HouseKey, PATIENCE, TestApi, TestMerchant, api, order};

async fn command(api: &TestApi, merchant: &TestMerchant, command: MerchantCommand) {
    let metadata = Metadata::system("test");
    api.ledger.execute_merchant(merchant.id, command, Vec::new(), &metadata).await.unwrap();
}

fn revoke(merchant: &TestMerchant) -> MerchantCommand {
    MerchantCommand::RevokeApiKey { key_id: merchant.key_id, at: Utc::now() }
}

/// Feeds the cache from the ledger, and waits until it is open.
async fn watch(api: &TestApi) -> CancellationToken {
    let token = CancellationToken::new();
    let (told, mut watching) = tokio::sync::watch::channel(false);
    let auth = api.auth.clone();
    tokio::spawn(merchant_changes::watch(api.db.pool.clone(), token.clone(), move |change| {
        auth.apply(change);
        told.send_replace(change != MerchantChange::Blind);
    }));
    watching.wait_for(|watching| *watching).await.unwrap();
    token
}

/// Makes every lookup in the database fail, so that only the cache can answer.
async fn break_lookups(api: &TestApi) {
    sqlx::query("ALTER TABLE claims RENAME TO claims_away").execute(&api.db.pool).await.unwrap();
}

async fn mend_lookups(api: &TestApi) {
    sqlx::query("ALTER TABLE claims_away RENAME TO claims").execute(&api.db.pool).await.unwrap();
}

async fn balances_status(api: &TestApi, merchant: &TestMerchant) -> u16 {
    api.get(merchant, "/api/v1/balances").await.status.as_u16()
}

#[tokio::test]
async fn a_key_is_kept_while_changes_are_heard_and_only_then() {
    let api = api().await;
    let merchant = api.merchant().await;
    assert_eq!(balances_status(&api, &merchant).await, 200);
    break_lookups(&api).await;
    assert_eq!(balances_status(&api, &merchant).await, 503, "nothing is kept before the watch began");
    mend_lookups(&api).await;

    let token = watch(&api).await;
    assert_eq!(balances_status(&api, &merchant).await, 200);
    break_lookups(&api).await;
    assert_eq!(balances_status(&api, &merchant).await, 200, "answered from memory");

    token.cancel();
    eventually("the cache to close", PATIENCE, async || (balances_status(&api, &merchant).await == 503).then_some(()))
        .await;
}

#[tokio::test]
async fn a_revocation_is_seen_at_once() {
    let api = api().await;
    let (merchant, other) = (api.merchant().await, api.merchant().await);
    let token = watch(&api).await;
    assert_eq!(balances_status(&api, &merchant).await, 200);
    assert_eq!(balances_status(&api, &other).await, 200);
    command(&api, &merchant, revoke(&merchant)).await;
    eventually("the key to be refused", PATIENCE, async || {
        (balances_status(&api, &merchant).await == 401).then_some(())
    })
    .await;
    let refused = api.create(&merchant, &order("1")).await;
    let revoked = refused.problem(401, "unauthorized");
    let unknown = TestMerchant { id: merchant.id, key_id: merchant.key_id, api_key: "wp_test_unknown".to_owned() };
    let unknown = api.create(&unknown, &order("1")).await.problem(401, "unauthorized");
    assert_eq!(revoked["detail"], unknown["detail"], "a revoked key is told nothing more than an unknown one");
    assert_eq!(balances_status(&api, &other).await, 200);
    token.cancel();
}

#[tokio::test]
async fn a_revocation_is_seen_without_a_watch() {
    let api = api().await;
    let merchant = api.merchant().await;
    assert_eq!(balances_status(&api, &merchant).await, 200);
    command(&api, &merchant, revoke(&merchant)).await;
    assert_eq!(balances_status(&api, &merchant).await, 401);
}

#[tokio::test]
async fn a_suspended_merchant_is_refused_until_reinstated() {
    let api = api().await;
    let merchant = api.merchant().await;
    let id = api.payment(&merchant, "1").await;
    let token = watch(&api).await;
    assert_eq!(balances_status(&api, &merchant).await, 200);
    command(&api, &merchant, MerchantCommand::Suspend { reason: "fraud".to_owned(), at: Utc::now() }).await;
    eventually("the merchant to be refused", PATIENCE, async || {
        (balances_status(&api, &merchant).await == 403).then_some(())
    })
    .await;
    let events = api.events().await;
    let answer = api.create(&merchant, &order("2")).await;
    answer.problem(403, "merchant_suspended");
    assert!(!answer.text.contains("fraud"));
    api.get(&merchant, &format!("/api/v1/payments/{id}")).await.problem(403, "merchant_suspended");
    assert_eq!(api.events().await, events);
    command(&api, &merchant, MerchantCommand::Reinstate { at: Utc::now() }).await;
    eventually("the merchant to be served", PATIENCE, async || {
        (balances_status(&api, &merchant).await == 200).then_some(())
    })
    .await;
    token.cancel();
}

#[tokio::test]
async fn a_database_that_is_away_is_not_a_wrong_key() {
    let api = api().await;
    let merchant = api.merchant().await;
    api.db.pool.close().await;
    let answer = api.get(&merchant, "/api/v1/balances").await;
    answer.problem(503, "overloaded");
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_revoked_access_key_is_refused_at_once() {
    let api = api().await;
    let (finance, auditor) = (api.house(AccessRole::Finance).await, api.house(AccessRole::Auditor).await);
    let status = async |key: &HouseKey| api.ask(Some(&key.key), "/api/v1/ledger/accounts", &[]).await.status.as_u16();
    let token = watch(&api).await;
    assert_eq!((status(&finance).await, status(&auditor).await), (200, 200));
    break_lookups(&api).await;
    assert_eq!((status(&finance).await, status(&auditor).await), (200, 200), "answered from memory");
    mend_lookups(&api).await;
    api.ledger.revoke_access_key(finance.id, Utc::now(), &Metadata::system("test")).await.unwrap();
    eventually("the key to be refused", PATIENCE, async || (status(&finance).await == 401).then_some(())).await;
    let revoked = api.ask(Some(&finance.key), "/api/v1/events", &[]).await.problem(401, "unauthorized");
    let unknown = api.ask(Some("wa_unknown"), "/api/v1/events", &[]).await.problem(401, "unauthorized");
    assert_eq!(revoked["detail"], unknown["detail"]);
    assert_eq!(status(&auditor).await, 200);
    token.cancel();
}
