//! What the tests share: payments of small words, and what must be true of every ledger.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DurationRound, TimeDelta, Utc};
use sqlx::PgPool;
use uuid::Uuid;
use wopay_commands::{Ledger, LedgerOptions};
use wopay_domain::envelope::decode;
use wopay_domain::ledger::{Layer, Side, postings};
use wopay_domain::payment::{CreatePayment, DepositReport, DepositStage, LateDeposits, PaymentPolicy, PaymentTerms};
use wopay_domain::{
    Asset, AssetId, BlockRef, ChainName, DepositKey, DepositLeg, MerchantId, Metadata, Money, PaymentId, Percentage,
    Timestamp,
};
use wopay_eventbus::AppendSignal;

pub(crate) fn ledger(pool: &PgPool) -> Ledger {
    Ledger::start(pool.clone(), AppendSignal::new(), LedgerOptions::default())
}

pub(crate) fn metadata() -> Metadata {
    Metadata::system("test")
}

pub(crate) fn now() -> Timestamp {
    Utc::now().duration_trunc(TimeDelta::microseconds(1)).unwrap()
}

pub(crate) fn chain() -> ChainName {
    "ethereum".parse().unwrap()
}

pub(crate) fn asset() -> Asset {
    let id = AssetId::token(&chain(), "0xdac17f958d2ee523a2206206994597c13d831ec7").unwrap();
    Asset { id, symbol: "USDT".to_owned(), decimals: 6 }
}

pub(crate) fn merchant_id() -> MerchantId {
    MerchantId::from_uuid(Uuid::now_v7())
}

/// An EVM address that no other call in this process gives, nor (but for chance) one in another.
pub(crate) fn address() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let low = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("0x{:032x}{low:08x}", Uuid::now_v7().as_u128().rotate_left(64))
}

/// A payment of 100 USDT that wants three confirmations within an hour.
pub(crate) fn create(merchant_id: MerchantId, order_id: &str) -> CreatePayment {
    let at = now();
    CreatePayment {
        payment_id: PaymentId::from_uuid(Uuid::now_v7()),
        merchant_id,
        order_id: order_id.to_owned(),
        terms: PaymentTerms {
            amount: asset().parse("100").unwrap(),
            asset: asset(),
            chain: chain(),
            address: address(),
            callback_url: Some("https://merchant.example/paid".to_owned()),
            expires_at: at + TimeDelta::hours(1),
            policy: PaymentPolicy {
                underpayment_tolerance: Percentage::ZERO,
                required_confirmations: 3,
                late_deposits: LateDeposits::Accept,
            },
        },
        at,
    }
}

/// A sighting of `minor` units in a transaction of this number.
pub(crate) fn seen(transaction: u64, revision: u64, minor: u128) -> DepositReport {
    DepositReport {
        deposit: DepositKey { chain: chain(), transaction: format!("0x{transaction:064x}"), leg: DepositLeg::Log(0) },
        revision,
        amount: Money::new(minor, asset().id),
        from: None,
        block: BlockRef { number: 1, hash: format!("0x{transaction:064x}"), time: now() },
        stage: DepositStage::Seen { confirmations: 1 },
        at: now(),
    }
}

/// A row of `events` without what it says.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) position: i64,
    pub(crate) aggregate_id: String,
    pub(crate) sequence: i64,
    pub(crate) event_type: String,
}

pub(crate) async fn rows_after(pool: &PgPool, after: i64) -> Vec<Row> {
    sqlx::query_as(
        "SELECT position, aggregate_id, sequence, event_type FROM events WHERE position > $1 ORDER BY position LIMIT 1000",
    )
    .bind(after)
    .fetch_all(pool)
    .await
    .unwrap()
}

pub(crate) async fn count(pool: &PgPool, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(pool).await.unwrap()
}

/// What holds of a ledger at any time: head = newest position = number of events, streams without holes, every payment
/// with its own two claims, no claim without its payment.
pub(crate) async fn assert_whole(pool: &PgPool) {
    let facts: (i64, i64, i64) =
        sqlx::query_as("SELECT (SELECT position FROM ledger_head), coalesce(max(position), 0), count(*) FROM events")
            .fetch_one(pool)
            .await
            .unwrap();
    assert_eq!(facts.0, facts.1, "head and newest position");
    assert_eq!(facts.1, facts.2, "newest position and number of events");
    let broken_streams = "SELECT count(*) FROM (
        SELECT 1 FROM events GROUP BY aggregate_type, aggregate_id
        HAVING max(sequence) <> count(*) OR min(sequence) <> 1) AS broken";
    assert_eq!(count(pool, broken_streams).await, 0, "streams with holes");
    let creations = "SELECT count(*) FROM events WHERE event_type = 'PaymentCreated'";
    let creations = count(pool, creations).await;
    let orders = "SELECT count(*) FROM claims c JOIN events e ON e.aggregate_id = c.aggregate_id AND e.sequence = 1
        WHERE c.kind = 'order'
          AND c.key = (e.payload #>> '{PaymentCreated,merchant_id}') || '/' || (e.payload #>> '{PaymentCreated,order_id}')";
    assert_eq!(count(pool, orders).await, creations, "orders claimed by their payments");
    let deposits = "SELECT count(*) FROM claims c JOIN events e ON e.aggregate_id = c.aggregate_id AND e.sequence = 1
        WHERE c.kind = 'deposit:evm' AND c.key = e.payload #>> '{PaymentCreated,terms,address}'";
    assert_eq!(count(pool, deposits).await, creations, "addresses claimed by their payments");
    let others = "SELECT count(*) FROM claims WHERE kind IN ('order', 'deposit:evm')";
    assert_eq!(count(pool, others).await, 2 * creations, "claims without their payment");
}

/// Posted debits less credits by kind of account; every event balances.
pub(crate) async fn books(pool: &PgPool) -> BTreeMap<String, i128> {
    let rows: Vec<(String, String, String, String)> =
        sqlx::query_as("SELECT aggregate_type, event_type, event_version, payload::text FROM events ORDER BY position")
            .fetch_all(pool)
            .await
            .unwrap();
    let mut books = BTreeMap::new();
    for (aggregate, event, version, payload) in rows {
        let lines = postings(&decode(&aggregate, &event, &version, 1, &payload).unwrap());
        let mut sum = 0;
        for line in lines {
            let minor = i128::try_from(line.amount.minor()).unwrap();
            let signed = if line.side == Side::Debit { minor } else { -minor };
            sum += signed;
            if line.layer == Layer::Posted {
                let account = line.account.to_string();
                let account = account.rsplit(':').next().unwrap().to_owned();
                *books.entry(account).or_insert(0) += signed;
            }
        }
        assert_eq!(sum, 0, "{event}");
    }
    books.retain(|_, balance| *balance != 0);
    books
}
