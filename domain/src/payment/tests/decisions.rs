//! What an operator decides about money that did not count.

use super::fixture::{DEADLINE, Scenario, at, create, deposit, hold_late, opened, other_payment, told};
use crate::envelope::LedgerEvent;
use crate::ids::MerchantId;
use crate::ledger::{effective_at, postings};
use crate::money::AssetId;
use crate::payment::PaymentCommand::{Cancel, Expire};
use crate::payment::{DepositDecision, DepositState, Holder, PaymentCommand, PaymentError};

fn held_late() -> Scenario {
    opened(hold_late).given([Expire { at: at(DEADLINE) }, deposit(1, 100).late().confirmed()]).stands("held")
}

fn booked(scenario: &Scenario) -> Vec<String> {
    let lines = scenario.last_events().iter().flat_map(|event| postings(&LedgerEvent::Payment(event.clone())));
    lines
        .map(|line| format!("{} {} {} {}", line.layer.as_str(), line.side.as_str(), line.account, line.amount.minor()))
        .collect()
}

#[test]
fn a_held_deposit_that_is_assigned_completes_the_payment() {
    let scenario = held_late()
        .when(deposit(1, 100).assign())
        .then(&["DepositAssigned", "PaymentCompleted"])
        .stands("completed paid_late");
    let merchant = scenario.payment.state().unwrap().merchant_id;
    assert_eq!(
        booked(&scenario),
        ["posted debit suspense 100".to_owned(), format!("posted credit merchant:{merchant}:payable 100")]
    );
    scenario.when(deposit(1, 100).assign()).then(&[]);
}

#[test]
fn an_assigned_deposit_that_is_orphaned_is_taken_from_the_merchant_and_comes_back_credited() {
    let again = held_late().given([deposit(1, 100).assign(), deposit(1, 100).revision(2).late().orphaned()]);
    let again = again.stands("reversed").when(deposit(1, 100).revision(3).late().confirmed());
    again.then(&["DepositReincluded", "DepositConfirmed", "PaymentCompleted"]).stands("completed paid_late");
}

/// As of a moment between block and decision the money stood in suspense, whatever the chain did with it later.
#[test]
fn what_the_chain_does_with_assigned_money_takes_effect_no_earlier_than_the_decision() {
    let assigned = held_late().given([deposit(1, 100).assign(), deposit(1, 100).revision(2).late().orphaned()]);
    let effective = |scenario: &Scenario| {
        let events = scenario.last_events().iter().filter(|event| event.standing().is_none());
        events.map(|event| effective_at(&LedgerEvent::Payment(event.clone()))).collect::<Vec<_>>()
    };
    assert_eq!(effective(&assigned), [at(DEADLINE + 400)]);
    let again = assigned.when(deposit(1, 100).revision(3).late().confirmed());
    assert_eq!(effective(&again), [at(DEADLINE + 400); 2]);
    let later = again.when(deposit(1, 100).revision(4).in_block(5001, DEADLINE + 900).confirmed());
    assert_eq!(effective(&later), [at(DEADLINE + 400), at(DEADLINE + 900), at(DEADLINE + 900)]);
    let held = held_late().when(deposit(1, 100).revision(2).late().orphaned());
    assert_eq!(effective(&held), [at(DEADLINE + 1)], "nobody decided: it never had an effect");
}

#[test]
fn money_of_nobody_that_is_assigned_counts() {
    let scenario = opened(|_| {}).when(deposit(7, 100).revision(9).assign_unmatched());
    let scenario = scenario.then(&["DepositAssigned", "PaymentCompleted"]).stands("completed");
    let state = scenario.payment.state().unwrap();
    let known = &state.deposits[&deposit(7, 100).0.deposit];
    assert_eq!((known.state, known.revision), (DepositState::Confirmed, 9));
    assert_eq!(known.decision, Some(DepositDecision::Assigned { at: at(DEADLINE + 500) }));
    let scenario = scenario.when(deposit(7, 100).revision(9).confirmed()).then(&[]);
    let scenario = scenario.when(deposit(7, 100).revision(9).assign_unmatched()).then(&[]);
    scenario.when(deposit(7, 100).revision(10).orphaned()).then(&["DepositOrphaned", "PaymentReversed"]);
}

#[test]
fn a_held_deposit_that_was_sent_back_is_held_no_more() {
    let scenario = held_late()
        .when(deposit(1, 100).sent_back())
        .then(&["HeldDepositRefunded", "PaymentExpired"])
        .stands("expired");
    assert_eq!(
        booked(&scenario),
        [
            "posted debit suspense 100",
            "posted credit custody:ethereum 100",
            "posted debit platform:gas 3",
            "posted credit custody:ethereum 3",
        ]
    );
    let scenario = scenario.when(deposit(1, 100).sent_back()).then(&[]);
    scenario
        .clone()
        .when(deposit(1, 100).reassign(other_payment()))
        .refused(&PaymentError::DepositRefunded("0xsentback".to_owned()));
    scenario.when(deposit(1, 100).assign()).refused(&PaymentError::DepositRefunded("0xsentback".to_owned()));
}

/// A reorganization can bring a late deposit into a block in time. What went back does not count for that.
#[test]
fn what_was_sent_back_stays_sent_back_when_it_comes_again_in_time() {
    let scenario = held_late().given([deposit(1, 100).sent_back(), deposit(1, 100).revision(2).late().orphaned()]);
    let scenario = scenario.when(deposit(1, 100).revision(3).confirmed());
    scenario.then(&["DepositReincluded", "DepositConfirmed"]).stands("expired");
}

#[test]
fn a_reason_is_one_line_of_text() {
    for reason in ["", "  ", "a\nb", "\u{1b}[2Jx"] {
        let PaymentCommand::AssignDeposit(mut assign) = deposit(1, 100).assign() else { unreachable!() };
        assign.reason = reason.to_owned();
        let wanted = PaymentError::InvalidDecision("the reason must have 1 to 500 bytes, and no control characters");
        held_late().when(PaymentCommand::AssignDeposit(assign)).refused(&wanted);
    }
}

#[test]
fn after_a_cancellation_money_can_be_sent_back() {
    let scenario = opened(|_| {}).given([Cancel { at: at(1) }, deposit(1, 100).confirmed()]).stands("held");
    scenario.when(deposit(1, 100).sent_back()).stands("cancelled");
}

#[test]
fn what_cannot_be_decided_is_refused() {
    let unknown = deposit(5, 1);
    held_late().when(unknown.clone().assign()).refused(&PaymentError::DepositNotFound(unknown.0.deposit.clone()));
    held_late().when(unknown.clone().sent_back()).refused(&PaymentError::DepositNotFound(unknown.0.deposit));
    let seen = opened(hold_late).when(deposit(1, 100).late().seen());
    let not_confirmed = PaymentError::DepositNotConfirmed { state: DepositState::Seen };
    seen.clone().when(deposit(1, 100).assign()).refused(&not_confirmed);
    seen.when(deposit(1, 100).sent_back()).refused(&not_confirmed);
    let credited = opened(|_| {}).when(deposit(1, 100).confirmed());
    credited.clone().when(deposit(1, 100).assign()).refused(&PaymentError::DepositNotHeld);
    credited.when(deposit(1, 100).sent_back()).refused(&PaymentError::DepositNotHeld);
    let other = AssetId::native(&super::fixture::chain());
    let wrong = opened(|_| {}).when(deposit(1, 100).of_asset(other.clone()).confirmed());
    let reason =
        "the deposit is of another asset than the payment asks for: open one in its asset, or refund the deposit";
    wrong.clone().when(deposit(1, 100).assign()).refused(&PaymentError::InvalidDecision(reason));
    wrong.when(deposit(1, 100).sent_back()).then(&["HeldDepositRefunded"]).stands("pending");
    let found = deposit(2, 100).of_asset(other).assign_unmatched();
    opened(|_| {}).when(found).refused(&PaymentError::InvalidDecision(reason));
}

fn holder() -> Holder {
    Holder { payment_id: other_payment(), merchant_id: create().merchant_id }
}

fn wrong_asset() -> Scenario {
    let native = AssetId::native(&super::fixture::chain());
    opened(|_| {}).when(deposit(1, 100).of_asset(native).confirmed()).stands("pending")
}

#[test]
fn money_of_another_asset_can_be_another_payments_which_books_it() {
    let scenario = wrong_asset().when(deposit(1, 100).reassign(other_payment()));
    let scenario = scenario.then(&["HeldDepositReassigned"]).stands("pending");
    assert_eq!(booked(&scenario), Vec::<String>::new());
    let scenario = scenario.when(deposit(1, 100).reassign(other_payment())).then(&[]);
    let payment_id = create().payment_id;
    scenario
        .clone()
        .when(deposit(1, 100).reassign(payment_id))
        .refused(&PaymentError::DepositReassigned(other_payment()));
    let reassigned = PaymentError::DepositReassigned(other_payment());
    scenario.clone().when(deposit(1, 100).assign()).refused(&reassigned);
    scenario.when(deposit(1, 100).sent_back()).refused(&reassigned);

    let receiver = opened(|_| {}).when(deposit(7, 100).assign_held_by(holder()));
    let receiver = receiver.then(&["DepositAssigned", "PaymentCompleted"]).stands("completed");
    assert_eq!(booked(&receiver)[0], "posted debit suspense 100");
    receiver.when(deposit(7, 100).assign_held_by(holder())).then(&[]);
}

#[test]
fn what_the_chain_does_with_reassigned_money_is_noted_once_the_other_payment_was_told() {
    let scenario = wrong_asset().when(deposit(1, 100).reassign(other_payment()));
    let native = AssetId::native(&super::fixture::chain());
    let gone = || deposit(1, 100).of_asset(native.clone()).revision(2).orphaned();
    let scenario = scenario.when(gone());
    scenario.clone().refused(&PaymentError::DepositReassigned(other_payment()));
    let scenario = scenario.when(told(gone(), create().payment_id));
    scenario.clone().refused(&PaymentError::DepositReassigned(other_payment()));
    let scenario = scenario.when(told(gone(), other_payment())).then(&["ReassignedDepositReported"]).stands("pending");
    assert_eq!(booked(&scenario), Vec::<String>::new());
    let known = &scenario.payment.state().unwrap().deposits[&deposit(1, 100).0.deposit];
    assert_eq!((known.state, known.revision), (DepositState::Orphaned, 2));
    let scenario = scenario.when(told(gone(), other_payment())).then(&[]);
    let back = deposit(1, 70).of_asset(native.clone()).revision(3).in_block(101, 20).confirmed();
    let scenario = scenario.when(told(back, other_payment())).then(&["ReassignedDepositReported"]);
    let known = &scenario.payment.state().unwrap().deposits[&deposit(1, 100).0.deposit];
    assert_eq!((known.state, known.amount.minor(), known.block.number), (DepositState::Confirmed, 70, 101));
    // What was reported before the decision, and comes late, needs nobody to be told.
    scenario.when(deposit(1, 100).of_asset(native).confirmed()).then(&[]);
}

#[test]
fn a_payment_that_was_held_for_it_is_what_it_is_without() {
    let late = held_late().when(deposit(1, 100).reassign(other_payment()));
    late.then(&["HeldDepositReassigned", "PaymentExpired"]).stands("expired");
    let cancelled = opened(|_| {}).given([Cancel { at: at(1) }, deposit(1, 100).confirmed()]).stands("held");
    let cancelled = cancelled.when(deposit(1, 100).reassign(other_payment())).stands("cancelled");
    // Other money is still held.
    cancelled.when(deposit(2, 100).confirmed()).stands("held");
}

#[test]
fn what_cannot_be_reassigned_is_refused() {
    let unknown = deposit(5, 1);
    let not_found = PaymentError::DepositNotFound(unknown.0.deposit.clone());
    held_late().when(unknown.reassign(other_payment())).refused(&not_found);
    let seen = opened(hold_late).when(deposit(1, 100).late().seen());
    let not_confirmed = PaymentError::DepositNotConfirmed { state: DepositState::Seen };
    seen.when(deposit(1, 100).reassign(other_payment())).refused(&not_confirmed);
    let gone = held_late().when(deposit(1, 100).revision(2).late().orphaned());
    let orphaned = PaymentError::DepositNotConfirmed { state: DepositState::Orphaned };
    gone.when(deposit(1, 100).reassign(other_payment())).refused(&orphaned);
    let credited = opened(|_| {}).when(deposit(1, 100).confirmed());
    credited.when(deposit(1, 100).reassign(other_payment())).refused(&PaymentError::DepositNotHeld);
    let itself = "the deposit is held by this payment: it is assigned, not reassigned";
    held_late().when(deposit(1, 100).reassign(create().payment_id)).refused(&PaymentError::InvalidDecision(itself));
    let PaymentCommand::ReassignDeposit(mut blank) = deposit(1, 100).reassign(other_payment()) else { unreachable!() };
    blank.reason = " ".to_owned();
    let wanted = PaymentError::InvalidDecision("the reason must have 1 to 500 bytes, and no control characters");
    held_late().when(PaymentCommand::ReassignDeposit(blank)).refused(&wanted);
}

#[test]
fn what_the_other_payment_cannot_take_is_refused() {
    let native = AssetId::native(&super::fixture::chain());
    let reason =
        "the deposit is of another asset than the payment asks for: open one in its asset, or refund the deposit";
    let other = deposit(7, 100).of_asset(native).assign_held_by(holder());
    opened(|_| {}).when(other).refused(&PaymentError::InvalidDecision(reason));
    let stranger = Holder { merchant_id: MerchantId::from_uuid(uuid::Uuid::from_u128(99)), ..holder() };
    opened(|_| {}).when(deposit(7, 100).assign_held_by(stranger)).refused(&PaymentError::OtherMerchant);
    let had = "the payment to which the deposit is to go has had it itself, before a reorganization";
    let known = opened(|_| {}).given([deposit(7, 100).confirmed(), deposit(7, 100).revision(2).orphaned()]);
    known.when(deposit(7, 100).revision(3).assign_held_by(holder())).refused(&PaymentError::InvalidDecision(had));
}
