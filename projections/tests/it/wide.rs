//! Amounts at the edge of what the ledger takes stop nobody.

use uuid::Uuid;
use wopay_domain::payment::{DepositStage, PaymentCommand, PaymentStatus};
use wopay_domain::{Money, PaymentId};
use wopay_projections::payments::{self, PaymentFilter};
use wopay_projections::{balances, transactions};

use crate::support::{TestLedger, asset, at, block, create, merchant_id, report};

#[tokio::test]
async fn the_widest_amounts_with_the_most_decimals_are_exact() {
    let mut ledger = TestLedger::new().await;
    for number in 1..=3_u32 {
        let id = PaymentId::from_uuid(Uuid::from_u128(u128::from(number)));
        let mut create = create(id, merchant_id(0), &format!("order {number}"), u128::MAX, at(0));
        create.terms.asset.decimals = 38;
        ledger.book.payment(id, PaymentCommand::Create(Box::new(create))).unwrap();
        // Seen, orphaned and seen again in one batch: the amounts that pass are wider than the one that stays.
        for (revision, stage) in [
            (1, DepositStage::Seen { confirmations: 1 }),
            (2, DepositStage::Orphaned),
            (3, DepositStage::Confirmed { confirmations: 12 }),
        ] {
            let report = report((number, 0), revision, Money::new(u128::MAX, asset().id), block(5, 0), stage);
            ledger.book.payment(id, PaymentCommand::ObserveDeposit(Box::new(report))).unwrap();
        }
    }
    ledger.project().await;

    let list = payments::list(&ledger.pool, merchant_id(0), &PaymentFilter::default(), None, 10).await.unwrap();
    assert_eq!(list.items.len(), 3);
    for payment in &list.items {
        assert_eq!(payment.status, PaymentStatus::Completed);
        assert_eq!(payment.amount_confirmed.minor(), u128::MAX);
    }
    let shown: String =
        sqlx::query_scalar("SELECT DISTINCT amount::text FROM payments").fetch_one(&ledger.pool).await.unwrap();
    assert_eq!(shown, "3.40282366920938463463374607431768211455");
    let rows = transactions::of_payment(&ledger.pool, merchant_id(0), list.items[0].id).await.unwrap();
    assert_eq!(rows[0].amount.minor(), u128::MAX);
    let balances = balances::of_merchant(&ledger.pool, merchant_id(0)).await.unwrap().value;
    assert_eq!(balances[0].available.to_string(), "1020847100762815390390123822295304634365");
    assert_eq!(balances[0].available.format(38), "10.20847100762815390390123822295304634365");
    assert_eq!(balances[0].available.as_u128(), None);
}

#[tokio::test]
async fn text_that_postgres_cannot_store_is_replaced() {
    let mut ledger = TestLedger::new().await;
    let id = PaymentId::from_uuid(Uuid::from_u128(1));
    let create = create(id, merchant_id(0), "order\0one", 1, at(0));
    ledger.book.payment(id, PaymentCommand::Create(Box::new(create))).unwrap();
    ledger.project().await;
    let row = payments::find(&ledger.pool, merchant_id(0), id).await.unwrap().unwrap();
    assert_eq!(row.order_id, "order\u{fffd}one");
}
