//! The write side, as small as it can be: executes the commands of the stream on `wopay_domain` payments in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::Utc;
use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wopay_domain::deposit::{self, ObserveUnmatched, UnmatchedDeposit, UnmatchedDepositCommand, UnmatchedDepositState};
use wopay_domain::payment::{
    CreatePayment, DepositReport, DepositState, LateDeposits, Payment, PaymentCommand, PaymentEvent, PaymentPolicy,
    PaymentState, PaymentStatus, PaymentTerms, decide, evolve,
};
use wopay_domain::{Asset, DepositId, DepositKey, MerchantId, Money, PaymentId, Percentage};
use wopay_eventbus::Bus;
use wopay_eventbus::commands::{ObserveDeposit, ObserveUnmatchedDeposit};
use wopay_testkit::eventually;

use super::{SOON, fresh_address};

#[derive(Clone)]
pub(crate) struct Book {
    pool: PgPool,
    pages: Arc<Mutex<Pages>>,
}

#[derive(Default)]
struct Pages {
    payments: HashMap<PaymentId, Payment>,
    unmatched: HashMap<DepositId, UnmatchedDeposit>,
    reports: Vec<(Instant, DepositReport)>,
}

impl Book {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool, pages: Arc::default() }
    }

    /// Opens a payment at an address of its own, and claims it.
    pub(crate) async fn open(
        &self,
        asset: &Asset,
        minor: u128,
        confirmations: u32,
        expires_in: Duration,
    ) -> (PaymentId, String) {
        let address = fresh_address();
        let id = self.open_at(asset, minor, confirmations, expires_in, &address).await;
        (id, address)
    }

    pub(crate) async fn open_at(
        &self,
        asset: &Asset,
        minor: u128,
        confirmations: u32,
        expires_in: Duration,
        address: &str,
    ) -> PaymentId {
        let payment_id = PaymentId::from_uuid(Uuid::now_v7());
        let at = Utc::now();
        let terms = PaymentTerms {
            amount: Money::new(minor, asset.id.clone()),
            asset: asset.clone(),
            chain: asset.id.chain().parse().unwrap(),
            address: address.to_owned(),
            callback_url: None,
            expires_at: at + expires_in,
            policy: PaymentPolicy {
                underpayment_tolerance: Percentage::ZERO,
                required_confirmations: confirmations,
                late_deposits: LateDeposits::Accept,
            },
        };
        let create = CreatePayment {
            payment_id,
            merchant_id: MerchantId::from_uuid(Uuid::now_v7()),
            order_id: payment_id.to_string(),
            terms,
            at,
        };
        let mut payment = Payment::default();
        for event in decide(&payment, PaymentCommand::Create(Box::new(create))).unwrap() {
            evolve(&mut payment, event);
        }
        self.pages.lock().unwrap().payments.insert(payment_id, payment);
        let detail = json!({"required_confirmations": confirmations, "chain": asset.id.chain()});
        let family = if address.starts_with("0x") { "evm" } else { "solana" };
        sqlx::query(
            "WITH pooled AS (
                 INSERT INTO address_pool (family, idx, address)
                 SELECT $1, coalesce(max(idx) + 1, 0), $2
                 FROM address_pool
                 ON CONFLICT (family, address) DO NOTHING
             )
             INSERT INTO claims (kind, key, aggregate_id, detail)
             VALUES ('deposit:' || $1, $2, $3, $4)",
        )
        .bind(family)
        .bind(address)
        .bind(payment_id.to_string())
        .bind(detail)
        .execute(&self.pool)
        .await
        .unwrap();
        payment_id
    }

    /// Executes commands until the token is cancelled.
    pub(crate) async fn run(self, bus: Bus, token: CancellationToken) {
        let mut consumer = bus.command_consumer("inbox");
        while let Some(batch) = token.run_until_cancelled(consumer.next_batch(100)).await {
            for delivery in batch {
                if delivery.kind == ObserveUnmatchedDeposit::KIND {
                    self.execute_unmatched(ObserveUnmatchedDeposit::from_body(&delivery.body).unwrap()).await;
                    delivery.acker.ack().await;
                    continue;
                }
                let command = ObserveDeposit::from_body(&delivery.body).unwrap();
                let id = format!("{}@{}", command.report.deposit, command.report.revision);
                assert_eq!(delivery.message_id.as_deref(), Some(id.as_str()));
                self.execute(command).await;
                delivery.acker.ack().await;
            }
        }
    }

    async fn execute(&self, command: ObserveDeposit) {
        let id = command.payment_id;
        for event in self.decide(command) {
            let payload = serde_json::to_value(&event).unwrap();
            self.write("payment", &id.to_string(), event.name(), payload).await;
        }
    }

    async fn write(&self, aggregate_type: &str, id: &str, name: &str, payload: serde_json::Value) {
        sqlx::query(
            "INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             SELECT COALESCE(max(position), 0) + 1, $5, $1, COALESCE(max(position), 0) + 1, $2, $3, $4, '{}'
             FROM events",
        )
        .bind(id)
        .bind(name)
        .bind(wopay_domain::upcast::current_version(name))
        .bind(payload)
        .bind(aggregate_type)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    async fn execute_unmatched(&self, command: ObserveUnmatchedDeposit) {
        let id = DepositId::of(&command.report.deposit);
        let events = {
            let mut pages = self.pages.lock().unwrap();
            let deposit = pages.unmatched.entry(id).or_default();
            let observe = ObserveUnmatched { address: command.address, report: command.report, told: None };
            let events = deposit::decide(deposit, UnmatchedDepositCommand::Observe(Box::new(observe))).unwrap();
            events.iter().for_each(|event| deposit::evolve(deposit, event.clone()));
            events
        };
        for event in events {
            let payload = serde_json::to_value(&event).unwrap();
            self.write("deposit", &id.to_string(), event.name(), payload).await;
        }
    }

    /// Every unmatched deposit that the ledger was told of.
    pub(crate) fn unmatched(&self) -> Vec<UnmatchedDepositState> {
        self.pages.lock().unwrap().unmatched.values().filter_map(|deposit| deposit.state().cloned()).collect()
    }

    fn decide(&self, command: ObserveDeposit) -> Vec<PaymentEvent> {
        let mut pages = self.pages.lock().unwrap();
        pages.reports.push((Instant::now(), command.report.clone()));
        let payment = pages.payments.get_mut(&command.payment_id).expect("reports name payments that exist");
        let report = PaymentCommand::ObserveDeposit(Box::new(command.report));
        let events = decide(payment, report).unwrap();
        for event in &events {
            evolve(payment, event.clone());
        }
        events
    }

    /// Lets the deadline of a payment pass.
    pub(crate) fn expire(&self, id: PaymentId) {
        let mut pages = self.pages.lock().unwrap();
        let payment = pages.payments.get_mut(&id).unwrap();
        let at = payment.state().unwrap().terms.expires_at;
        for event in decide(payment, PaymentCommand::Expire { at }).unwrap() {
            evolve(payment, event);
        }
    }

    pub(crate) fn payment(&self, id: PaymentId) -> PaymentState {
        self.pages.lock().unwrap().payments[&id].state().unwrap().clone()
    }

    pub(crate) fn whole_payment(&self, id: PaymentId) -> Payment {
        self.pages.lock().unwrap().payments[&id].clone()
    }

    /// Every report that has arrived, in the order of arrival.
    pub(crate) fn reports(&self) -> Vec<DepositReport> {
        self.pages.lock().unwrap().reports.iter().map(|(_, report)| report.clone()).collect()
    }

    /// When the first report of a deposit in that transaction arrived.
    pub(crate) fn first_report_at(&self, transaction: &str) -> Option<Instant> {
        let pages = self.pages.lock().unwrap();
        pages.reports.iter().find(|(_, report)| report.deposit.transaction == transaction).map(|(at, _)| *at)
    }

    pub(crate) async fn until(
        &self,
        id: PaymentId,
        what: &str,
        condition: impl Fn(&PaymentState) -> bool,
    ) -> PaymentState {
        let waited = eventually(what, SOON, async || Some(self.payment(id)).filter(|payment| condition(payment)));
        waited.await
    }

    pub(crate) async fn until_status(&self, id: PaymentId, status: PaymentStatus) -> PaymentState {
        self.until(id, status.as_str(), |payment| payment.status == status).await
    }
}

/// The live deposits of a payment: key, minor units, state.
pub(crate) fn live(payment: &PaymentState) -> Vec<(&DepositKey, u128, DepositState)> {
    let live = payment.deposits.iter().filter(|(_, deposit)| deposit.is_live());
    live.map(|(key, deposit)| (key, deposit.amount.minor(), deposit.state)).collect()
}
