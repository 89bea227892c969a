//! A ledger with merchants and payments, a planner that follows it, and deliverers.

use std::time::Duration;

use chrono::SubsecRound;
use secrecy::ExposeSecret;
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wopay_domain::merchant::{MerchantEvent, MerchantForgotten, WebhookConfigured};
use wopay_domain::payment::{
    Flags, LateDeposits, PaymentCreated, PaymentEvent, PaymentPolicy, PaymentStatus, PaymentTerms, Standing,
};
use wopay_domain::{Asset, MerchantId, Money, PaymentId, Percentage, SecretRef, Timestamp, upcast};
use wopay_eventbus::EventHandler;
use wopay_testkit::{Received, TestDatabase, database, eventually};
use wopay_vault::{Vault, VaultKey};
use wopay_webhooks::logs::{DeliveryEntry, LogEntry};
use wopay_webhooks::{Deliverer, DelivererConfig, Planner, Policy, RetrySchedule, generate_secret, logs};

/// Long enough for a loaded machine; nothing waits for it when all is well.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) db: TestDatabase,
    pub(crate) vault: Vault,
    pub(crate) planner: Planner,
}

pub(crate) struct TestMerchant {
    pub(crate) id: MerchantId,
    pub(crate) secret: String,
}

pub(crate) struct TestPayment {
    pub(crate) id: PaymentId,
    pub(crate) merchant: MerchantId,
}

impl World {
    pub(crate) async fn new() -> Self {
        let db = database().await;
        let vault = Vault::new(db.pool.clone(), VaultKey::generate());
        Self { db, vault, planner: Planner::new() }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.db.pool
    }

    pub(crate) async fn merchant(&self, url: Option<&str>) -> TestMerchant {
        let id = MerchantId::from_uuid(Uuid::now_v7());
        let secret = self.configure(id, url).await;
        TestMerchant { id, secret }
    }

    /// Sets a merchant's URL and a new secret, which is returned.
    pub(crate) async fn configure(&self, id: MerchantId, url: Option<&str>) -> String {
        let secret = generate_secret().unwrap().expose_secret().to_owned();
        let reference = self.vault.store(id.as_uuid(), "webhook-secret", secret.as_bytes()).await.unwrap();
        let event = MerchantEvent::WebhookConfigured(WebhookConfigured {
            url: url.map(str::to_owned),
            secret: SecretRef::from_uuid(reference),
            at: now(),
        });
        self.append("merchant", id.as_uuid(), event.name(), serde_json::to_value(&event).unwrap()).await;
        secret
    }

    /// Forgets a merchant as the command line does: the event, then its key.
    pub(crate) async fn forget(&self, id: MerchantId) {
        let event = MerchantEvent::MerchantForgotten(MerchantForgotten { at: now() });
        self.append("merchant", id.as_uuid(), event.name(), serde_json::to_value(&event).unwrap()).await;
        self.vault.forget(id.as_uuid()).await.unwrap();
    }

    pub(crate) async fn payment(&self, merchant: &TestMerchant, callback: Option<&str>) -> TestPayment {
        let id = PaymentId::from_uuid(Uuid::now_v7());
        let event = created(id, merchant.id, callback);
        self.append("payment", id.as_uuid(), event.name(), serde_json::to_value(&event).unwrap()).await;
        TestPayment { id, merchant: merchant.id }
    }

    pub(crate) async fn happened(&self, payment: &TestPayment, event: &PaymentEvent) {
        self.append("payment", payment.id.as_uuid(), event.name(), serde_json::to_value(event).unwrap()).await;
    }

    /// A completed payment of this merchant, planned.
    pub(crate) async fn completed(&self, merchant: &TestMerchant, callback: Option<&str>) -> TestPayment {
        let payment = self.payment(merchant, callback).await;
        self.happened(&payment, &PaymentEvent::PaymentCompleted(standing(PaymentStatus::Completed))).await;
        self.follow(0).await;
        payment
    }

    async fn append(&self, kind: &str, id: Uuid, name: &str, payload: serde_json::Value) {
        sqlx::query(
            "WITH head AS (UPDATE ledger_head SET position = position + 1 RETURNING position)
             INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                                 metadata)
             SELECT head.position, $1, $2,
                    (SELECT count(*) + 1 FROM events WHERE aggregate_type = $1 AND aggregate_id = $2),
                    $3, $4, $5, '{}'
             FROM head",
        )
        .bind(kind)
        .bind(id.to_string())
        .bind(name)
        .bind(upcast::current_version(name))
        .bind(payload)
        .execute(self.pool())
        .await
        .unwrap();
    }

    /// Lets the planner apply everything after a position, as the follower would.
    pub(crate) async fn follow(&self, after: i64) {
        let events = wopay_eventbus::log::read(self.pool(), after, 100_000).await.unwrap();
        let mut tx = self.pool().begin().await.unwrap();
        self.planner.apply(&mut tx, &events).await.unwrap();
        tx.commit().await.unwrap();
        self.planner.committed().await;
    }

    /// A deliverer that may reach loopback, running until the value is dropped.
    pub(crate) fn deliver(&self, config: DelivererConfig) -> Running {
        let deliverer = Deliverer::new(self.pool().clone(), self.vault.clone(), config).unwrap();
        let token = CancellationToken::new();
        let task = tokio::spawn(deliverer.woken_by(self.planner.wake()).run(token.clone()));
        Running { token, task }
    }

    pub(crate) async fn deliveries(&self, payment: &TestPayment) -> Vec<DeliveryEntry> {
        logs::deliveries_of_payment(self.pool(), payment.merchant, payment.id, 100).await.unwrap()
    }

    /// The attempts of a payment, oldest first.
    pub(crate) async fn attempts(&self, payment: &TestPayment) -> Vec<LogEntry> {
        let mut attempts = logs::of_payment(self.pool(), payment.merchant, payment.id, 1_000).await.unwrap();
        attempts.reverse();
        attempts
    }

    /// Waits until every delivery of the payment is in this state.
    pub(crate) async fn wait_for_state(&self, payment: &TestPayment, state: &str) -> Vec<DeliveryEntry> {
        let what = format!("deliveries in state {state}");
        eventually(&what, SOON, async || {
            let rows = self.deliveries(payment).await;
            (!rows.is_empty() && rows.iter().all(|row| row.state == state)).then_some(rows)
        })
        .await
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.pool()).await.unwrap()
    }
}

pub(crate) struct Running {
    token: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// As a crash would: nothing is settled.
    pub(crate) async fn crash(mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
    }

    pub(crate) async fn stop(mut self) {
        self.token.cancel();
        (&mut self.task).await.unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Loopback is allowed, retries come at once, ten of them.
pub(crate) fn fast() -> DelivererConfig {
    DelivererConfig {
        policy: Policy { allow_networks: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()] },
        schedule: RetrySchedule::new(vec![Duration::from_millis(5); 10]),
        attempt_timeout: Duration::from_secs(5),
        lease_margin: Duration::from_secs(5),
        ..DelivererConfig::default()
    }
}

pub(crate) fn now() -> Timestamp {
    chrono::Utc::now().trunc_subsecs(6)
}

pub(crate) fn usdt() -> Asset {
    let id = "ethereum/0xdac17f958d2ee523a2206206994597c13d831ec7".parse().unwrap();
    Asset { id, symbol: "USDT".to_owned(), decimals: 6 }
}

fn created(id: PaymentId, merchant: MerchantId, callback: Option<&str>) -> PaymentEvent {
    let asset = usdt();
    PaymentEvent::PaymentCreated(Box::new(PaymentCreated {
        payment_id: id,
        merchant_id: merchant,
        order_id: "ORDER \"№ 7\"".to_owned(),
        terms: PaymentTerms {
            amount: Money::new(100_500_000, asset.id.clone()),
            asset,
            chain: "ethereum".parse().unwrap(),
            address: "0x00000000000000000000000000000000000000aa".to_owned(),
            callback_url: callback.map(str::to_owned),
            expires_at: now() + Duration::from_secs(3_600),
            policy: PaymentPolicy {
                underpayment_tolerance: Percentage::ZERO,
                required_confirmations: 12,
                late_deposits: LateDeposits::Accept,
            },
        },
        created_at: now(),
    }))
}

pub(crate) fn standing(status: PaymentStatus) -> Standing {
    Standing {
        status,
        flags: Flags { overpaid: true, ..Flags::default() },
        amount_received: Money::new(101_000_001, usdt().id),
        amount_confirmed: Money::new(101_000_000, usdt().id),
        amount_refunded: None,
        transaction_hash: Some("0xabc".to_owned()),
        confirmations: 12,
        at: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
    }
}

/// Checks the headers with the independent package.
pub(crate) fn verify(received: &Received, secret: &str) {
    standardwebhooks::Webhook::new(secret).unwrap().verify(&received.body, &received.headers).unwrap();
}
