//! Lists, pages, deadlines and confirmations of payments.

use std::collections::BTreeSet;

use sqlx::PgPool;
use uuid::Uuid;
use wopay_domain::payment::{DepositStage, PaymentCommand, PaymentStatus};
use wopay_domain::{Money, PaymentId};
use wopay_projections::payments::{self, PaymentFilter};
use wopay_projections::{AsOfPoint, balances, chain_heads, journal, lag, transactions};

use crate::support::{TestLedger, asset, at, block, create, merchant_id, report, settle, tx_hash};

fn payment_id(number: u32) -> PaymentId {
    PaymentId::from_uuid(Uuid::from_u128(u128::from(number)))
}

fn open(ledger: &mut TestLedger, number: u32, merchant: u128, second: u32) -> PaymentId {
    let id = payment_id(number);
    let create = create(id, merchant_id(merchant), &format!("order {number}"), 1_000_000, at(second));
    ledger.book.payment(id, PaymentCommand::Create(Box::new(create))).unwrap();
    id
}

async fn set_head(pool: &PgPool, height: i64) {
    sqlx::query(
        "INSERT INTO chain_heads (chain, height, hash, finalized_height, block_time, updated_at)
         VALUES ('ethereum', $1, '0xhead', NULL, now(), now())
         ON CONFLICT (chain) DO UPDATE SET height = EXCLUDED.height",
    )
    .bind(height)
    .execute(pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_payments_are_opened() {
    let mut ledger = TestLedger::new().await;
    // Many are opened at the same moment: the id decides between them.
    let before: Vec<PaymentId> = (1..=50).map(|number| open(&mut ledger, number, 0, number / 10)).collect();
    ledger.project().await;

    let mut seen = Vec::new();
    let mut cursor = None;
    for round in 0_u32.. {
        let page =
            payments::list(&ledger.pool, merchant_id(0), &PaymentFilter::default(), cursor.as_ref(), 7).await.unwrap();
        assert_eq!(page.as_of_position, 50 + i64::from(round));
        seen.extend(page.items.iter().map(|payment| (payment.created_at, payment.id)));
        let Some(next) = page.next else { break };
        // A cursor goes through its text, as over HTTP.
        cursor = Some(next.to_string().parse().unwrap());
        open(&mut ledger, 1_000 + round, 0, 1_000 + round);
        ledger.project().await;
    }
    assert!(seen.is_sorted_by(|newer, older| newer > older), "newest first, none twice");
    let seen: BTreeSet<PaymentId> = seen.into_iter().map(|(_, id)| id).collect();
    assert_eq!(seen, before.into_iter().collect());
}

#[tokio::test]
async fn filters_combine() {
    let mut ledger = TestLedger::new().await;
    for number in 1..=20 {
        open(&mut ledger, number, 0, number);
    }
    for number in 1..=5 {
        settle(&mut ledger.book, payment_id(number), number, 1_000_000);
    }
    ledger.project().await;
    let orders = async |filter: PaymentFilter| {
        let page = payments::list(&ledger.pool, merchant_id(0), &filter, None, 100).await.unwrap();
        page.items.into_iter().map(|payment| payment.order_id).collect::<Vec<_>>()
    };
    let completed = PaymentFilter { status: Some(PaymentStatus::Completed), ..PaymentFilter::default() };
    assert_eq!(orders(completed.clone()).await, ["order 5", "order 4", "order 3", "order 2", "order 1"]);
    let window = PaymentFilter { created_from: Some(at(2)), created_to: Some(at(4)), ..completed.clone() };
    assert_eq!(orders(window).await, ["order 3", "order 2"]);
    let one = PaymentFilter { order_id: Some("order 17".to_owned()), ..PaymentFilter::default() };
    assert_eq!(orders(one).await, ["order 17"]);
    let currency = PaymentFilter { currency: Some("usdt".to_owned()), ..completed.clone() };
    assert_eq!(orders(currency).await.len(), 5);
    let odd = PaymentFilter { order_id: Some("\0".to_owned()), currency: Some("\0".to_owned()), ..completed.clone() };
    assert_eq!(orders(odd).await, Vec::<String>::new());
    let ages_ago = Some(wopay_domain::Timestamp::MIN_UTC);
    let always = PaymentFilter { created_from: ages_ago, ..completed.clone() };
    assert_eq!(orders(always).await.len(), 5);
    let never = PaymentFilter { created_to: ages_ago, ..completed.clone() };
    assert_eq!(orders(never).await, Vec::<String>::new());
    let chain = PaymentFilter { blockchain: Some("bsc".parse().unwrap()), ..completed };
    assert_eq!(orders(chain).await, Vec::<String>::new());
}

#[tokio::test]
async fn another_merchants_rows_never_appear() {
    let mut ledger = TestLedger::new().await;
    let mine = open(&mut ledger, 1, 0, 1);
    let theirs = open(&mut ledger, 2, 1, 1);
    settle(&mut ledger.book, mine, 1, 1_000_000);
    settle(&mut ledger.book, theirs, 2, 2_000_000);
    ledger.project().await;

    let me = merchant_id(0);
    assert_eq!(payments::find(&ledger.pool, me, theirs).await.unwrap(), None);
    let list = payments::list(&ledger.pool, me, &PaymentFilter::default(), None, 100).await.unwrap();
    assert_eq!(list.items.iter().map(|payment| payment.id).collect::<Vec<_>>(), [mine]);
    assert_eq!(transactions::of_payment(&ledger.pool, me, theirs).await.unwrap(), []);
    let both = transactions::of_payments(&ledger.pool, me, &[mine, theirs]).await.unwrap();
    assert_eq!(both.iter().map(|row| row.payment_id).collect::<Vec<_>>(), [mine]);
    let balances = balances::of_merchant(&ledger.pool, me).await.unwrap();
    assert_eq!(balances.value.len(), 1);
    assert_eq!(balances.value[0].available.format(6), "1.000000");
    assert_eq!(balances::of_merchant(&ledger.pool, merchant_id(7)).await.unwrap().value, []);
}

#[tokio::test]
async fn an_empty_ledger_answers_as_of_zero() {
    let ledger = TestLedger::new().await;
    let list = payments::list(&ledger.pool, merchant_id(0), &PaymentFilter::default(), None, 10).await.unwrap();
    assert_eq!((list.as_of_position, list.items, list.next), (0, vec![], None));
    assert_eq!(balances::of_merchant(&ledger.pool, merchant_id(0)).await.unwrap().as_of_position, 0);
    assert_eq!(journal::trial_balance(&ledger.pool, AsOfPoint::NOW).await.unwrap().value, []);
    assert_eq!(lag(&ledger.pool).await.unwrap().events(), 0);
}

#[tokio::test]
async fn lag_is_what_is_committed_and_not_applied() {
    let mut ledger = TestLedger::new().await;
    open(&mut ledger, 1, 0, 1);
    ledger.project().await;
    open(&mut ledger, 2, 0, 1);
    open(&mut ledger, 3, 0, 1);
    ledger.write().await;
    let lag = lag(&ledger.pool).await.unwrap();
    assert_eq!((lag.position, lag.head, lag.events()), (1, 3, 2));
}

#[tokio::test]
async fn only_unpaid_payments_fall_due() {
    let mut ledger = TestLedger::new().await;
    let [paid, later, due, next] = [1_u32, 2, 3, 4].map(|number| open(&mut ledger, number, 0, 10 - number));
    settle(&mut ledger.book, paid, 1, 1_000_000);
    ledger.project().await;
    let at_deadline = |second: u32| at(3600 + second);
    let now = at_deadline(8);
    assert_eq!(payments::due_for_expiry(&ledger.pool, now, 10).await.unwrap(), [next, due, later]);
    assert_eq!(payments::due_for_expiry(&ledger.pool, now, 1).await.unwrap(), [next]);
    assert_eq!(payments::due_for_expiry(&ledger.pool, at_deadline(6), 10).await.unwrap(), [next]);

    ledger.book.payment(next, PaymentCommand::Expire { at: now }).unwrap();
    ledger.project().await;
    assert_eq!(payments::due_for_expiry(&ledger.pool, now, 10).await.unwrap(), [due, later]);
}

#[tokio::test]
async fn confirmations_are_counted_from_the_head() {
    let mut ledger = TestLedger::new().await;
    let id = open(&mut ledger, 1, 0, 1);
    let amount = Money::new(1_000_000, asset().id);
    let deposit = async |ledger: &mut TestLedger, transaction, revision, number, stage| {
        let report = report((transaction, 0), revision, amount.clone(), block(number, 0), stage);
        ledger.book.payment(id, PaymentCommand::ObserveDeposit(Box::new(report))).unwrap();
        ledger.project().await;
    };
    deposit(&mut ledger, 1, 1, 100, DepositStage::Seen { confirmations: 1 }).await;
    let pool = ledger.pool.clone();
    let shown = async || payments::find(&pool, merchant_id(0), id).await.unwrap().unwrap().confirmations;
    assert_eq!(shown().await, 1, "without a head: as stated");
    for (head, confirmations) in [(90, 0), (100, 1), (111, 12)] {
        set_head(&ledger.pool, head).await;
        assert_eq!(shown().await, confirmations, "at head {head}");
    }
    let chain = asset().id.chain().parse().unwrap();
    assert_eq!(chain_heads::height(&ledger.pool, &chain).await.unwrap(), Some(111));

    deposit(&mut ledger, 1, 2, 100, DepositStage::Confirmed { confirmations: 12 }).await;
    assert_eq!(shown().await, 12);
    deposit(&mut ledger, 2, 3, 111, DepositStage::Seen { confirmations: 1 }).await;
    assert_eq!(shown().await, 12, "a surplus does not take a completed payment's confirmations");
    let rows = transactions::of_payment(&ledger.pool, merchant_id(0), id).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.confirmations).collect::<Vec<_>>(), [12, 1]);
    let row = payments::find(&ledger.pool, merchant_id(0), id).await.unwrap().unwrap();
    assert_eq!(row.transaction_hash, Some(tx_hash(1)));

    deposit(&mut ledger, 1, 4, 100, DepositStage::Orphaned).await;
    deposit(&mut ledger, 2, 5, 111, DepositStage::Orphaned).await;
    assert_eq!(shown().await, 0);
}
