//! Deposits on the chains.

use uuid::Uuid;
use wopay_domain::payment::{DepositStage, DepositState, Disposition, HoldReason, PaymentCommand};
use wopay_domain::{Money, PaymentId};
use wopay_projections::{AsOfPoint, balances, journal, transactions};

use crate::support::{TestLedger, asset, at, block, create, merchant_id, native, report};

const MERCHANT: u128 = 0;

fn open(ledger: &mut TestLedger, number: u128) -> PaymentId {
    let id = PaymentId::from_uuid(Uuid::from_u128(number));
    let create = create(id, merchant_id(MERCHANT), &format!("order {number}"), 1_000_000, at(0));
    ledger.book.payment(id, PaymentCommand::Create(Box::new(create))).unwrap();
    id
}

#[tokio::test]
async fn one_transaction_pays_two_payments() {
    let mut ledger = TestLedger::new().await;
    let payments = [open(&mut ledger, 1), open(&mut ledger, 2)];
    for (leg, id) in (0..).zip(payments) {
        let stage = DepositStage::Confirmed { confirmations: 12 };
        let report = report((1, leg), 1, Money::new(1_000_000, asset().id), block(5, 0), stage);
        ledger.book.payment(id, PaymentCommand::ObserveDeposit(Box::new(report))).unwrap();
    }
    ledger.project().await;
    let rows = transactions::of_payments(&ledger.pool, merchant_id(MERCHANT), &payments).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].transaction_hash, rows[1].transaction_hash);
    assert_ne!(rows[0].id, rows[1].id);
    let balances = balances::of_merchant(&ledger.pool, merchant_id(MERCHANT)).await.unwrap().value;
    assert_eq!(balances[0].available.format(6), "2.000000");
}

#[tokio::test]
async fn money_that_nobody_asked_for_is_shown_and_not_counted() {
    let mut ledger = TestLedger::new().await;
    let id = open(&mut ledger, 1);
    let stage = DepositStage::Confirmed { confirmations: 12 };
    let report = report((1, 0), 1, Money::new(42, native()), block(5, 0), stage);
    ledger.book.payment(id, PaymentCommand::ObserveDeposit(Box::new(report))).unwrap();
    ledger.project().await;
    let rows = transactions::of_payment(&ledger.pool, merchant_id(MERCHANT), id).await.unwrap();
    assert_eq!(rows[0].disposition, Disposition::Hold(HoldReason::WrongAsset));
    assert_eq!(rows[0].amount, Money::new(42, native()));
    assert_eq!((&rows[0].symbol, rows[0].decimals), (&None, None));
    assert_eq!(balances::of_merchant(&ledger.pool, merchant_id(MERCHANT)).await.unwrap().value, []);
    let books = journal::trial_balance(&ledger.pool, AsOfPoint::NOW).await.unwrap().value;
    assert_eq!(books.len(), 1);
    let total = books[0].total;
    assert_eq!((total.posted_debit.as_u128(), total.posted_credit.as_u128()), (Some(42), Some(42)));
    assert_eq!((&books[0].asset.id, &books[0].asset.symbol, books[0].asset.decimals), (&native(), &None, None));
}

#[tokio::test]
async fn pending_money_becomes_available_and_goes_with_its_block() {
    let mut ledger = TestLedger::new().await;
    let id = open(&mut ledger, 1);
    let stages = [
        (DepositStage::Seen { confirmations: 1 }, DepositState::Seen, "0.000000", "0.400000"),
        (DepositStage::Confirmed { confirmations: 12 }, DepositState::Confirmed, "0.400000", "0.000000"),
        (DepositStage::Orphaned, DepositState::Orphaned, "0.000000", "0.000000"),
        (DepositStage::Seen { confirmations: 1 }, DepositState::Seen, "0.000000", "0.400000"),
    ];
    for (revision, (stage, state, available, pending)) in (1..).zip(stages) {
        let report = report((1, 0), revision, Money::new(400_000, asset().id), block(5, 0), stage);
        ledger.book.payment(id, PaymentCommand::ObserveDeposit(Box::new(report))).unwrap();
        ledger.project().await;
        let rows = transactions::of_payment(&ledger.pool, merchant_id(MERCHANT), id).await.unwrap();
        assert_eq!(rows[0].status, state);
        let balances = balances::of_merchant(&ledger.pool, merchant_id(MERCHANT)).await.unwrap().value;
        assert_eq!(
            (balances[0].available.format(6), balances[0].pending.format(6)),
            (available.into(), pending.into())
        );
        assert_eq!((balances[0].symbol.as_str(), balances[0].decimals), ("USDT", 6));
    }
}
