//! A reorganization gives one movement of money to another payment than before. Each payment's stream says what it knows,
//! in any order beside the other's: each has a row of its own.

use uuid::Uuid;
use wopay_domain::deposit::{AssignUnmatched, UnmatchedDepositCommand};
use wopay_domain::payment::{DepositReport, DepositStage, DepositState, PaymentCommand};
use wopay_domain::{DepositId, Money, PaymentId};
use wopay_projections::{check, rebuild, transactions};

use crate::support::{
    NoProfiles, TestLedger, assert_projected, asset, at, block, clear, create, merchant_id, report, snapshot, tell,
    unmatched,
};

const SEEN: DepositStage = DepositStage::Seen { confirmations: 1 };
const CONFIRMED: DepositStage = DepositStage::Confirmed { confirmations: 12 };

/// Every order of the three steps of one stream and the steps of another: `true` where it is the other's turn.
fn orders(others: u32) -> impl Iterator<Item = Vec<bool>> {
    let steps = others + 3;
    (0_u32..1 << steps)
        .filter(move |bits| bits.count_ones() == others)
        .map(move |bits| (0..steps).map(|step| (bits >> step) & 1 == 1).collect())
}

/// The payment that loses the money, and the one that gets it.
fn pair(ledger: &mut TestLedger, number: u32) -> [PaymentId; 2] {
    [1, 2].map(|side| {
        let id = PaymentId::from_uuid(Uuid::from_u128(u128::from(number) * 10 + side));
        let create = create(id, merchant_id(side), &format!("order {number}"), 1_000_000, at(0));
        ledger.book.payment(id, PaymentCommand::Create(Box::new(create))).unwrap();
        id
    })
}

/// On one side of the fork the transaction pays 1.00, on the other 0.70.
fn before(number: u32, revision: u64, stage: DepositStage) -> DepositReport {
    report((number, 0), revision, Money::new(1_000_000, asset().id), block(5, 0), stage)
}

fn after(number: u32, revision: u64, stage: DepositStage) -> DepositReport {
    report((number, 0), revision, Money::new(700_000, asset().id), block(6, 1), stage)
}

fn observe(ledger: &mut TestLedger, id: PaymentId, report: DepositReport) {
    ledger.book.payment(id, PaymentCommand::ObserveDeposit(Box::new(report))).unwrap();
}

/// The stream of the payment that loses the money.
fn lose(ledger: &mut TestLedger, number: u32, id: PaymentId, step: usize) {
    let stages = [SEEN, CONFIRMED, DepositStage::Orphaned];
    let revision = u64::try_from(step).unwrap() + 1;
    observe(ledger, id, before(number, revision, stages[step]));
}

/// Lets the other stream take its steps beside the losing one, in every order, each with payments of its own.
fn in_every_order(
    ledger: &mut TestLedger,
    others: u32,
    other: impl Fn(&mut TestLedger, u32, PaymentId, usize),
) -> Vec<[PaymentId; 2]> {
    let mut pairs = Vec::new();
    for (number, order) in (1..).zip(orders(others)) {
        let [loser, winner] = pair(ledger, number);
        let mut taken = [0, 0];
        for is_other in order {
            let step = taken[usize::from(is_other)];
            if is_other {
                other(ledger, number, winner, step)
            } else {
                lose(ledger, number, loser, step)
            }
            taken[usize::from(is_other)] += 1;
        }
        pairs.push([loser, winner]);
    }
    pairs
}

/// However the events are cut into batches, and rebuilt: the same rows, which are what the aggregates hold.
async fn assert_same_in_every_cut(ledger: &mut TestLedger) {
    ledger.write().await;
    let mut rows = None;
    for sizes in [[1], [2], [3], [1_000]] {
        clear(&ledger.pool).await;
        ledger.project_in(&sizes).await;
        assert_projected(&ledger.pool, &ledger.book).await;
        let now = snapshot(&ledger.pool).await;
        assert_eq!(*rows.get_or_insert_with(|| now.clone()), now, "in batches of {sizes:?}");
    }
    rebuild(&ledger.pool, &NoProfiles, None, |_| {}).await.unwrap();
    assert_eq!(rows, Some(snapshot(&ledger.pool).await));
    assert_eq!(check(&ledger.pool, &NoProfiles, None, 3, |_| {}).await.unwrap().differences(), 0);
}

async fn assert_each_has_its_row(ledger: &TestLedger, pairs: &[[PaymentId; 2]]) {
    for [loser, winner] in pairs {
        let lost = transactions::of_payment(&ledger.pool, merchant_id(1), *loser).await.unwrap();
        let won = transactions::of_payment(&ledger.pool, merchant_id(2), *winner).await.unwrap();
        let ([lost], [won]) = (&lost[..], &won[..]) else { panic!("one row each: {lost:?} {won:?}") };
        assert_eq!((lost.status, lost.amount.minor()), (DepositState::Orphaned, 1_000_000));
        assert_eq!((won.status, won.amount.minor()), (DepositState::Confirmed, 700_000));
        assert_eq!((&lost.transaction_hash, &lost.leg), (&won.transaction_hash, &won.leg));
        assert_ne!(lost.id, won.id);
    }
}

#[tokio::test]
async fn a_deposit_becomes_another_payments_in_any_order_of_their_events() {
    let mut ledger = TestLedger::new().await;
    let pairs = in_every_order(&mut ledger, 2, |ledger, number, winner, step| {
        let stage = [SEEN, CONFIRMED][step];
        observe(ledger, winner, after(number, 11 + u64::try_from(step).unwrap(), stage));
    });
    assert_eq!(pairs.len(), 10);
    assert_same_in_every_cut(&mut ledger).await;
    assert_each_has_its_row(&ledger, &pairs).await;
}

#[tokio::test]
async fn a_deposit_of_a_payment_becomes_nobodys_and_is_assigned_to_another() {
    let mut ledger = TestLedger::new().await;
    let pairs = in_every_order(&mut ledger, 3, |ledger, number, winner, step| {
        let stray = after(number, 11, CONFIRMED);
        let id = DepositId::of(&stray.deposit);
        match step {
            0 => assert_eq!(ledger.book.deposit(id, unmatched(stray)).unwrap(), 1),
            1 => {
                let assign = AssignUnmatched { payment_id: winner, reason: "its invoice".to_owned(), at: at(90) };
                ledger.book.deposit(id, UnmatchedDepositCommand::Assign(assign)).unwrap();
            }
            _ => assert_eq!(tell(&mut ledger.book, id), Some(winner)),
        }
    });
    assert_eq!(pairs.len(), 20);
    assert_same_in_every_cut(&mut ledger).await;
    assert_each_has_its_row(&ledger, &pairs).await;
    for [_, winner] in pairs {
        let rows = transactions::of_payment(&ledger.pool, merchant_id(2), winner).await.unwrap();
        assert_eq!(rows[0].to_address, "0xnobodys");
    }
}
