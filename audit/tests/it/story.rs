//! A ledger that tells a story: payments that went well, late, too little, and back.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta};
use cqrs_es::DomainEvent as _;
use sqlx::PgPool;
use wopay_domain::merchant::{Merchant, MerchantCommand, MerchantPolicy, RegisterMerchant};
use wopay_domain::payment::{
    CompleteRefund, CreatePayment, DepositReport, DepositStage, LateDeposits, Payment, PaymentCommand, PaymentPolicy,
    PaymentState, PaymentTerms, RequestRefund, decide, evolve,
};
use wopay_domain::{
    Asset, AssetId, BlockRef, ChainName, DepositKey, DepositLeg, MerchantId, Metadata, Money, PaymentId, Percentage,
    RefundId, SecretRef, Timestamp, merchant,
};

use crate::sealed::World;

/// Seconds after its creation at which a payment is due.
pub(crate) const DEADLINE: i64 = 3_600;

pub(crate) fn at(second: i64) -> Timestamp {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap() + TimeDelta::seconds(second)
}

pub(crate) fn payment_id(number: u32) -> PaymentId {
    PaymentId::from_uuid(uuid::Uuid::from_u128(0x1000 + u128::from(number)))
}

pub(crate) fn merchant_id() -> MerchantId {
    MerchantId::from_uuid(uuid::Uuid::from_u128(0x2000))
}

fn chain() -> ChainName {
    "bsc".parse().unwrap()
}

pub(crate) fn usdt() -> Asset {
    let id = AssetId::token(&chain(), "0x55d398326f99059ff775485246999027b3197955").unwrap();
    Asset { id, symbol: "USDT".to_owned(), decimals: 6 }
}

/// So many whole USDT.
pub(crate) const fn whole(units: u128) -> u128 {
    units * 1_000_000
}

pub(crate) struct Story {
    pub(crate) world: World,
    payments: HashMap<u32, Payment>,
    position: i64,
    revision: u64,
}

impl Story {
    pub(crate) async fn new() -> Self {
        Self { world: World::new().await, payments: HashMap::new(), position: 0, revision: 0 }
    }

    /// One merchant and five payments: 1 goes well, 2 gets too little, 3 is late, 4 loses its money, 5 is sent back.
    /// Recorded second after second.
    pub(crate) async fn told() -> Self {
        let mut story = Self::new().await;
        story.register().await;
        for number in 1..=5 {
            story.create(number, i64::from(number)).await;
        }
        story.seen(1, 100, whole(100), 10).await;
        story.seen(2, 101, whole(60), 11).await;
        story.confirmed(1, 100, whole(100), 20).await;
        story.confirmed(2, 101, whole(60), 21).await;
        story.seen(4, 110, whole(100), 30).await;
        story.confirmed(4, 110, whole(100), 40).await;
        story.orphaned(4, 110, whole(100), 50).await;
        story.seen(5, 120, whole(120), 60).await;
        story.confirmed(5, 120, whole(120), 70).await;
        story.refund(5, whole(20), 80).await;
        for number in [2, 3, 4] {
            story
                .execute(number, PaymentCommand::Expire { at: at(DEADLINE + 10) }, "system:scheduler", DEADLINE + 10)
                .await;
        }
        story.seen(3, 5_000, whole(100), DEADLINE + 60).await;
        story.confirmed(3, 5_000, whole(100), DEADLINE + 70).await;
        story
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.world.pool()
    }

    pub(crate) fn payment(&self, number: u32) -> &PaymentState {
        self.payments[&number].state().unwrap()
    }

    pub(crate) fn position(&self) -> i64 {
        self.position
    }

    pub(crate) async fn register(&mut self) {
        let register = RegisterMerchant {
            merchant_id: merchant_id(),
            profile: SecretRef::from_uuid(uuid::Uuid::from_u128(3)),
            policy: MerchantPolicy::default(),
            at: at(0),
        };
        let events = merchant::decide(&Merchant::default(), MerchantCommand::Register(register)).unwrap();
        for event in events {
            let payload = serde_json::to_string(&event).unwrap();
            let id = merchant_id().to_string();
            self.insert("merchant", &id, event.name(), &event.event_version(), &payload, "operator", 0).await;
        }
    }

    pub(crate) async fn create(&mut self, number: u32, second: i64) {
        let create = CreatePayment {
            payment_id: payment_id(number),
            merchant_id: merchant_id(),
            order_id: format!("ORDER-{number}"),
            terms: PaymentTerms {
                amount: Money::new(whole(100), usdt().id),
                asset: usdt(),
                chain: chain(),
                address: format!("0x{number:040x}"),
                callback_url: None,
                expires_at: at(if second < DEADLINE { DEADLINE } else { second + DEADLINE }),
                policy: PaymentPolicy {
                    underpayment_tolerance: Percentage::ZERO,
                    required_confirmations: 10,
                    late_deposits: LateDeposits::Accept,
                },
            },
            at: at(second),
        };
        let actor = format!("merchant:{}/key:{}", merchant_id(), uuid::Uuid::from_u128(9));
        self.execute(number, PaymentCommand::Create(Box::new(create)), &actor, second).await;
    }

    pub(crate) async fn seen(&mut self, number: u32, block: u64, minor: u128, second: i64) {
        self.report(number, block, minor, DepositStage::Seen { confirmations: 1 }, second).await;
    }

    pub(crate) async fn confirmed(&mut self, number: u32, block: u64, minor: u128, second: i64) {
        self.report(number, block, minor, DepositStage::Confirmed { confirmations: 10 }, second).await;
    }

    pub(crate) async fn orphaned(&mut self, number: u32, block: u64, minor: u128, second: i64) {
        self.report(number, block, minor, DepositStage::Orphaned, second).await;
    }

    /// The block's time: half a second for each, from the first.
    async fn report(&mut self, number: u32, block: u64, minor: u128, stage: DepositStage, second: i64) {
        let revision = self.next_revision();
        let time = if block >= 5_000 { at(DEADLINE + 55) } else { at(i64::try_from(block).unwrap() - 95) };
        let report = DepositReport {
            deposit: DepositKey { chain: chain(), transaction: format!("0x{number:064x}"), leg: DepositLeg::Log(0) },
            revision,
            amount: Money::new(minor, usdt().id),
            from: Some("0x00000000000000000000000000000000000000bb".to_owned()),
            block: BlockRef { number: block, hash: format!("0x{block:064x}"), time },
            stage,
            at: at(second),
        };
        self.execute(number, PaymentCommand::ObserveDeposit(Box::new(report)), "system:watchers/bsc", second).await;
    }

    async fn refund(&mut self, number: u32, minor: u128, second: i64) {
        let refund_id = RefundId::from_uuid(uuid::Uuid::from_u128(0x3000));
        let request = RequestRefund {
            refund_id,
            amount: Money::new(minor, usdt().id),
            to: "0x00000000000000000000000000000000000000bb".to_owned(),
            reason: "paid too much".to_owned(),
            at: at(second),
        };
        self.execute(number, PaymentCommand::RequestRefund(Box::new(request)), "operator", second).await;
        let fee = Money::new(21_000, AssetId::native(&chain()));
        let complete =
            CompleteRefund { refund_id, transaction: "0xfeed".to_owned(), network_fee: Some(fee), at: at(second + 5) };
        self.execute(number, PaymentCommand::CompleteRefund(Box::new(complete)), "operator", second + 5).await;
    }

    pub(crate) fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    pub(crate) async fn execute(&mut self, number: u32, command: PaymentCommand, actor: &str, second: i64) {
        let payment = self.payments.entry(number).or_default();
        let events = decide(payment, command).unwrap();
        for event in &events {
            evolve(payment, event.clone());
        }
        for event in events {
            let payload = serde_json::to_string(&event).unwrap();
            let id = payment_id(number).to_string();
            self.insert("payment", &id, event.name(), &event.event_version(), &payload, actor, second).await;
        }
    }

    #[allow(clippy::too_many_arguments, reason = "a row")]
    pub(crate) async fn insert(
        &mut self,
        aggregate_type: &str,
        aggregate_id: &str,
        event_type: &str,
        event_version: &str,
        payload: &str,
        actor: &str,
        second: i64,
    ) {
        self.position += 1;
        let mut metadata = Metadata::system("x").to_map();
        metadata.insert("actor".to_owned(), actor.to_owned());
        if actor.starts_with("merchant") {
            metadata.insert("request_id".to_owned(), format!("req-{}", self.position));
        }
        sqlx::query(
            "WITH head AS (UPDATE ledger_head SET position = $1)
             INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                                 metadata, recorded_at)
             SELECT $1, $2, $3, 1 + (SELECT count(*) FROM events WHERE aggregate_id = $3), $4, $5, $6::json, $7::json, $8",
        )
        .bind(self.position)
        .bind(aggregate_type)
        .bind(aggregate_id)
        .bind(event_type)
        .bind(event_version)
        .bind(payload)
        .bind(serde_json::to_string(&metadata).unwrap())
        .bind(at(second))
        .execute(self.world.pool())
        .await
        .unwrap();
    }
}
