//! Unmatched money: in the books once, and a payment's once, whoever crashes when.

use std::collections::BTreeMap;

use wopay_commands::{Created, ExecuteError, Ledger, UnmatchedError};
use wopay_domain::deposit::{
    AssignUnmatched, RefundUnmatched, UnmatchedDeposit, UnmatchedDepositCommand, UnmatchedDepositError, decide,
};
use wopay_domain::payment::{DepositReport, DepositStage, PaymentError, PaymentStatus};
use wopay_domain::{AssetId, DepositId, Money, PaymentId};

use crate::support::{assert_whole, books, chain, create, ledger, merchant_id, metadata, now, seen};

const ADDRESS: &str = "0x00000000000000000000000000000000000000ee";

async fn open(ledger: &Ledger) -> PaymentId {
    match ledger.create_payment(create(merchant_id(), "order"), &metadata(), None).await.unwrap() {
        Created::New { payment, .. } => payment.id,
        Created::Existing { .. } => panic!("new"),
    }
}

fn stray(revision: u64, stage: DepositStage) -> DepositReport {
    DepositReport { stage, ..seen(7, revision, 100_000_000) }
}

fn confirmed(revision: u64) -> DepositReport {
    stray(revision, DepositStage::Confirmed { confirmations: 3 })
}

async fn observe(ledger: &Ledger, report: &DepositReport) {
    ledger.observe_unmatched(ADDRESS, report, &metadata()).await.unwrap();
}

fn assign(payment_id: PaymentId) -> AssignUnmatched {
    AssignUnmatched { payment_id, reason: "an older address".to_owned(), at: now() }
}

fn sums(expected: &[(&str, i128)]) -> BTreeMap<String, i128> {
    expected.iter().map(|(account, balance)| ((*account).to_owned(), *balance)).collect()
}

#[tokio::test]
async fn it_is_recorded_once_and_assigned_once() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let payment = open(&ledger).await;
    let custody = chain().to_string();
    for _ in 0..3 {
        observe(&ledger, &confirmed(1)).await;
    }
    assert_eq!(books(&database.pool).await, sums(&[(&custody, 100_000_000), ("suspense", -100_000_000)]));
    let id = DepositId::of(&confirmed(1).deposit);
    for _ in 0..2 {
        let executed = ledger.assign_unmatched(id, assign(payment), &metadata()).await.unwrap();
        assert_eq!(executed.state.status, PaymentStatus::Completed);
    }
    assert_eq!(books(&database.pool).await, sums(&[(&custody, 100_000_000), ("payable", -100_000_000)]));
    // From now on the payment books what the chain does, and the deposit leaves a trace for the outbox.
    observe(&ledger, &stray(2, DepositStage::Orphaned)).await;
    assert_eq!(books(&database.pool).await, sums(&[]));
    assert_eq!(ledger.payment(payment).await.unwrap().unwrap().0.status, PaymentStatus::Reversed);
    assert_eq!(ledger.unmatched_deposit(id).await.unwrap().unwrap().revision, 2);
    observe(&ledger, &confirmed(3)).await;
    assert_eq!(books(&database.pool).await, sums(&[(&custody, 100_000_000), ("payable", -100_000_000)]));
    assert_whole(&database.pool).await;
    ledger.shutdown().await;
}

/// The deposit's stream says that it is assigned, and the process died before its payment heard of it.
async fn half_assigned(ledger: &Ledger, payment: PaymentId) -> DepositId {
    observe(ledger, &confirmed(1)).await;
    let id = DepositId::of(&confirmed(1).deposit);
    let context = ledger.store().load::<UnmatchedDeposit>(&id.to_string()).await.unwrap();
    let events = decide(context.state(), UnmatchedDepositCommand::Assign(assign(payment))).unwrap();
    let (sequence, metadata) = (context.sequence(), metadata().to_map());
    let store = ledger.store();
    store.append::<UnmatchedDeposit>(&id.to_string(), sequence, &events, &metadata, Vec::new()).await.unwrap();
    id
}

#[tokio::test]
async fn a_crash_between_the_streams_is_made_good_by_the_same_command_the_next_report_or_whoever_looks() {
    for way in ["command", "report", "look"] {
        let database = wopay_testkit::database().await;
        let ledger = ledger(&database.pool);
        let payment = open(&ledger).await;
        let id = half_assigned(&ledger, payment).await;
        let custody = chain().to_string();
        assert_eq!(books(&database.pool).await, sums(&[(&custody, 100_000_000), ("suspense", -100_000_000)]));
        match way {
            "report" => {
                observe(&ledger, &stray(2, DepositStage::Orphaned)).await;
                assert_eq!(books(&database.pool).await, sums(&[]));
                observe(&ledger, &confirmed(3)).await;
            }
            "command" => drop(ledger.assign_unmatched(id, assign(payment), &metadata()).await.unwrap()),
            _ => {
                for _ in 0..2 {
                    ledger.complete_assignment(id, &metadata()).await.unwrap();
                }
            }
        }
        assert_eq!(books(&database.pool).await, sums(&[(&custody, 100_000_000), ("payable", -100_000_000)]));
        assert_whole(&database.pool).await;
        ledger.shutdown().await;
    }
}

#[tokio::test]
async fn a_payment_that_cannot_take_it_leaves_it_where_it_was() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let payment = open(&ledger).await;
    let mut other = confirmed(1);
    other.amount = Money::new(5, AssetId::native(&chain()));
    observe(&ledger, &other).await;
    let id = DepositId::of(&other.deposit);
    let refused = ledger.assign_unmatched(id, assign(payment), &metadata()).await.unwrap_err();
    let UnmatchedError::Payment(ExecuteError::Domain(PaymentError::InvalidDecision(_))) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(ledger.unmatched_deposit(id).await.unwrap().unwrap().outcome, None);
    let refund = RefundUnmatched {
        transaction: "0xback".to_owned(),
        network_fee: None,
        reason: "nobody's".to_owned(),
        at: now(),
    };
    ledger.refund_unmatched(id, refund, &metadata()).await.unwrap();
    assert_eq!(books(&database.pool).await, sums(&[]));
    let refused = ledger.assign_unmatched(id, assign(payment), &metadata()).await.unwrap_err();
    assert!(
        matches!(&refused, UnmatchedError::Deposit(ExecuteError::Domain(UnmatchedDepositError::Refunded(_)))),
        "{refused:?}"
    );
    ledger.shutdown().await;
}

#[tokio::test]
async fn an_assignment_and_a_refund_at_once_are_one_of_the_two() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let payment = open(&ledger).await;
    observe(&ledger, &confirmed(1)).await;
    let id = DepositId::of(&confirmed(1).deposit);
    let refund = RefundUnmatched {
        transaction: "0xback".to_owned(),
        network_fee: None,
        reason: "nobody's".to_owned(),
        at: now(),
    };
    let metadata = metadata();
    let (assigned, refunded) = tokio::join!(
        ledger.assign_unmatched(id, assign(payment), &metadata),
        ledger.refund_unmatched(id, refund, &metadata),
    );
    assert!(assigned.is_ok() != refunded.is_ok(), "{assigned:?} and {refunded:?}");
    let payable =
        if assigned.is_ok() { sums(&[(chain().as_str(), 100_000_000), ("payable", -100_000_000)]) } else { sums(&[]) };
    assert_eq!(books(&database.pool).await, payable);
    ledger.shutdown().await;
}
