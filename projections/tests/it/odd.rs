//! The list of odd money: each deposit once, where it stands.

use uuid::Uuid;
use wopay_domain::deposit::{AssignUnmatched, RefundUnmatched, UnmatchedDepositCommand};
use wopay_domain::payment::{AssignDeposit, DepositStage, LateDeposits, PaymentCommand, ReassignDeposit};
use wopay_domain::{DepositId, Money, PaymentId, Timestamp};
use wopay_projections::deposits::{Decision, DepositFilter, DepositState, OddDeposit, dust, list};
use wopay_projections::{Cursor, MinorTotal, transactions};

use crate::support::{
    TestLedger, asset, assign_stray, at, block, create, merchant_id, observe, report, tell, tell_of_held, unmatched,
};

const CONFIRMED: DepositStage = DepositStage::Confirmed { confirmations: 12 };

async fn watched(ledger: &TestLedger, transaction: &str, kind: &str, minor: i64, time: Timestamp) {
    sqlx::query(
        "INSERT INTO deposit_observations (chain, tx_hash, leg, address, asset, amount_minor, block_number, block_hash,
                                           block_time, stage, kind)
         VALUES ('ethereum', $1, 'native', '0xours', $2, $3, 1, '0xb', $4, 'confirmed', $5)",
    )
    .bind(transaction)
    .bind(asset().id.as_str())
    .bind(minor)
    .bind(time)
    .bind(kind)
    .execute(&ledger.pool)
    .await
    .unwrap();
}

async fn of_state(ledger: &TestLedger, state: DepositState) -> Vec<OddDeposit> {
    let filter = DepositFilter { states: vec![state], ..DepositFilter::default() };
    list(&ledger.pool, &filter, None, 100).await.unwrap().items
}

/// A payment with one late deposit that is held, one unmatched deposit, and what the watchers keep.
async fn odd_world() -> TestLedger {
    let mut ledger = TestLedger::new().await;
    let id = PaymentId::from_uuid(Uuid::from_u128(1));
    let mut terms = create(id, merchant_id(0), "late", 1_000, at(0));
    terms.terms.policy.late_deposits = LateDeposits::Hold;
    terms.terms.expires_at = block(1, 0).time;
    terms.at = terms.terms.expires_at - std::time::Duration::from_secs(1);
    ledger.book.payment(id, PaymentCommand::Create(Box::new(terms))).unwrap();
    let held = report((1, 0), 1, Money::new(1_000, asset().id), block(9, 0), CONFIRMED);
    ledger.book.payment(id, PaymentCommand::ObserveDeposit(Box::new(held))).unwrap();
    let stray = report((2, 0), 1, Money::new(500, asset().id), block(8, 0), CONFIRMED);
    ledger.book.deposit(DepositId::of(&stray.deposit), unmatched(stray)).unwrap();
    ledger.project().await;
    watched(&ledger, "0xd1", "dust", 3, block(2, 0).time).await;
    watched(&ledger, "0xd2", "dust", 4, block(3, 0).time).await;
    watched(&ledger, "0xd3", "unknown_token", 9, block(4, 0).time).await;
    ledger
}

#[tokio::test]
async fn each_deposit_is_listed_once_in_its_state_and_dust_is_summed() {
    let ledger = odd_world().await;
    let all = list(&ledger.pool, &DepositFilter::default(), None, 100).await.unwrap();
    assert_eq!(all.as_of_position, 5);
    let states: Vec<_> = all.items.iter().map(|deposit| (deposit.state.as_str(), deposit.amount)).collect();
    let total = MinorTotal::from;
    assert_eq!(
        states,
        [
            ("held", total(1_000)),
            ("unmatched", total(500)),
            ("unknown_token", total(9)),
            ("dust", total(4)),
            ("dust", total(3)),
        ]
    );
    assert_eq!(all.items[0].hold_reason.as_deref(), Some("late"));
    assert_eq!(all.items[1].id, DepositId::of(&all.items[1].deposit.parse().unwrap()).as_uuid());
    assert_eq!(all.items[3].id, DepositId::of(&all.items[3].deposit.parse().unwrap()).as_uuid());
    let sums = dust(&ledger.pool).await.unwrap().value;
    let sums: Vec<_> = sums.iter().map(|sum| (sum.state.as_str(), sum.count, sum.amount)).collect();
    assert_eq!(sums, [("dust", 2, total(7)), ("unknown_token", 1, total(9))]);
}

#[tokio::test]
async fn pages_give_every_deposit_once() {
    let ledger = odd_world().await;
    let (mut seen, mut after): (Vec<String>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let page = list(&ledger.pool, &DepositFilter::default(), after.as_ref(), 2).await.unwrap();
        seen.extend(page.items.into_iter().map(|deposit| deposit.deposit));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let whole = list(&ledger.pool, &DepositFilter::default(), None, 100).await.unwrap();
    assert_eq!(seen, whole.items.into_iter().map(|deposit| deposit.deposit).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_decision_moves_a_deposit_to_its_state_with_its_reason() {
    let mut ledger = odd_world().await;
    let id = PaymentId::from_uuid(Uuid::from_u128(1));
    let held = report((1, 0), 1, Money::new(1_000, asset().id), block(9, 0), CONFIRMED).deposit;
    let assign = AssignDeposit { deposit: held, unmatched: None, reason: "a minute late".to_owned(), at: at(90) };
    ledger.book.payment(id, PaymentCommand::AssignDeposit(Box::new(assign))).unwrap();
    let stray = report((2, 0), 1, Money::new(500, asset().id), block(8, 0), CONFIRMED).deposit;
    let refund = RefundUnmatched {
        transaction: "0xback".to_owned(),
        network_fee: None,
        reason: "nobody's".to_owned(),
        at: at(91),
    };
    ledger.book.deposit(DepositId::of(&stray), UnmatchedDepositCommand::Refund(Box::new(refund))).unwrap();
    ledger.project().await;
    assert!(of_state(&ledger, DepositState::Held).await.is_empty());
    assert!(of_state(&ledger, DepositState::Unmatched).await.is_empty());
    let [assigned] = &of_state(&ledger, DepositState::Assigned).await[..] else { panic!("one") };
    assert_eq!((assigned.payment_id, assigned.decision_reason.as_deref()), (Some(id), Some("a minute late")));
    let [refunded] = &of_state(&ledger, DepositState::Refunded).await[..] else { panic!("one") };
    assert_eq!(refunded.decision_transaction.as_deref(), Some("0xback"));
}

#[tokio::test]
async fn an_assignment_is_under_way_until_the_payment_has_it() {
    let mut ledger = odd_world().await;
    let payment_id = PaymentId::from_uuid(Uuid::from_u128(1));
    let stray = report((2, 0), 1, Money::new(500, asset().id), block(8, 0), CONFIRMED).deposit;
    let id = DepositId::of(&stray);
    let assign = AssignUnmatched { payment_id, reason: "its invoice".to_owned(), at: at(90) };
    ledger.book.deposit(id, UnmatchedDepositCommand::Assign(assign)).unwrap();
    ledger.project().await;
    assert!(of_state(&ledger, DepositState::Assigned).await.is_empty());
    let [assigning] = &of_state(&ledger, DepositState::Assigning).await[..] else { panic!("one") };
    assert_eq!((assigning.payment_id, assigning.decision), (Some(payment_id), Some(Decision::Assigned)));

    assert_eq!(tell(&mut ledger.book, id), Some(payment_id));
    ledger.project().await;
    assert!(of_state(&ledger, DepositState::Assigning).await.is_empty());
    let [assigned] = &of_state(&ledger, DepositState::Assigned).await[..] else { panic!("one") };
    assert_eq!((&assigned.deposit, assigned.payment_id), (&stray.to_string(), Some(payment_id)));
    assert_eq!(assigned.to_address, "0xnobodys");
    let all = list(&ledger.pool, &DepositFilter::default(), None, 100).await.unwrap().items;
    assert_eq!(all.iter().filter(|deposit| deposit.deposit == stray.to_string()).count(), 1);
}

#[tokio::test]
async fn held_money_that_is_given_to_another_payment_is_under_way_until_that_one_has_it() {
    let mut ledger = odd_world().await;
    let (holder, receiver) = (PaymentId::from_uuid(Uuid::from_u128(1)), PaymentId::from_uuid(Uuid::from_u128(2)));
    let terms = create(receiver, merchant_id(0), "again", 1_000, at(0));
    ledger.book.payment(receiver, PaymentCommand::Create(Box::new(terms))).unwrap();
    let deposit = report((1, 0), 1, Money::new(1_000, asset().id), block(9, 0), CONFIRMED).deposit;
    let reason = "it was meant for the second order".to_owned();
    let assign = ReassignDeposit { deposit: deposit.clone(), to_payment_id: receiver, reason, at: at(90) };
    ledger.book.payment(holder, PaymentCommand::ReassignDeposit(Box::new(assign))).unwrap();
    ledger.project().await;
    assert!(of_state(&ledger, DepositState::Held).await.is_empty());
    let [assigning] = &of_state(&ledger, DepositState::Assigning).await[..] else { panic!("one") };
    assert_eq!((assigning.payment_id, assigning.assigned_to), (Some(holder), Some(receiver)));
    assert_eq!(assigning.decision_reason.as_deref(), Some("it was meant for the second order"));

    assert!(tell_of_held(&mut ledger.book, holder, &deposit));
    ledger.project().await;
    assert!(of_state(&ledger, DepositState::Assigning).await.is_empty());
    let [assigned] = &of_state(&ledger, DepositState::Assigned).await[..] else { panic!("one") };
    assert_eq!((&assigned.deposit, assigned.payment_id), (&deposit.to_string(), Some(receiver)));
    assert_eq!(assigned.to_address, format!("0x{}", holder.as_uuid().simple()), "where it came to");
    let [shown] = &transactions::of_payment(&ledger.pool, merchant_id(0), holder).await.unwrap()[..] else { panic!() };
    assert_eq!(shown.assigned_to, Some(receiver));

    // It leaves the chain: the other payment's row says so, and the first one's as well.
    let gone = report((1, 0), 2, Money::new(1_000, asset().id), block(9, 0), DepositStage::Orphaned);
    observe(&mut ledger.book, holder, gone);
    ledger.project().await;
    let [orphaned] = &of_state(&ledger, DepositState::Orphaned).await[..] else { panic!("one") };
    assert_eq!((orphaned.payment_id, orphaned.decision), (Some(receiver), Some(Decision::Assigned)));
    let [shown] = &transactions::of_payment(&ledger.pool, merchant_id(0), holder).await.unwrap()[..] else { panic!() };
    assert_eq!((shown.status.as_str(), shown.assigned_to), ("orphaned", Some(receiver)));
}

/// Whoever sent money back that the chain then took back must see it.
#[tokio::test]
async fn a_decision_and_the_orphaning_after_it_are_both_seen() {
    let mut ledger = odd_world().await;
    let payment_id = PaymentId::from_uuid(Uuid::from_u128(1));
    let orphaned =
        |transaction, block| report((transaction, 0), 2, Money::new(500, asset().id), block, DepositStage::Orphaned);
    let refund = RefundUnmatched {
        transaction: "0xback".to_owned(),
        network_fee: None,
        reason: "nobody's".to_owned(),
        at: at(91),
    };
    let stray = orphaned(2, block(8, 0));
    let id = DepositId::of(&stray.deposit);
    ledger.book.deposit(id, UnmatchedDepositCommand::Refund(Box::new(refund))).unwrap();
    ledger.book.deposit(id, unmatched(stray)).unwrap();
    let assigned = report((3, 0), 1, Money::new(500, asset().id), block(7, 0), CONFIRMED);
    assign_stray(&mut ledger.book, assigned, payment_id);
    let gone = PaymentCommand::ObserveDeposit(Box::new(orphaned(3, block(7, 0))));
    ledger.book.payment(payment_id, gone).unwrap();
    ledger.project().await;
    let found = of_state(&ledger, DepositState::Orphaned).await;
    let found: Vec<_> = found.iter().map(|it| (it.decision, it.payment_id, it.is_confirmed)).collect();
    let decided = [(Decision::Refunded, None), (Decision::Assigned, Some(payment_id))];
    assert_eq!(found, decided.map(|(decision, payment_id)| (Some(decision), payment_id, false)));
    for state in [DepositState::Refunded, DepositState::Assigned, DepositState::Unmatched] {
        assert!(of_state(&ledger, state).await.is_empty());
    }
}
