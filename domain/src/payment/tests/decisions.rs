//! What an operator decides about money that did not count.

use super::fixture::{DEADLINE, Scenario, at, deposit, hold_late, opened};
use crate::envelope::LedgerEvent;
use crate::ledger::postings;
use crate::money::AssetId;
use crate::payment::PaymentCommand::{Cancel, Expire};
use crate::payment::{DepositDecision, DepositState, PaymentCommand, PaymentError};

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

#[test]
fn money_of_nobody_that_is_assigned_counts() {
    let scenario = opened(|_| {}).when(deposit(7, 100).revision(9).assign_unmatched());
    let scenario = scenario.then(&["DepositAssigned", "PaymentCompleted"]).stands("completed");
    let state = scenario.payment.state().unwrap();
    let known = &state.deposits[&deposit(7, 100).0.deposit];
    assert_eq!((known.state, known.revision), (DepositState::Confirmed, 9));
    assert_eq!(known.decision, Some(DepositDecision::Assigned));
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
    let reason = "the deposit is of another asset than the payment asks for";
    wrong.clone().when(deposit(1, 100).assign()).refused(&PaymentError::InvalidDecision(reason));
    wrong.when(deposit(1, 100).sent_back()).then(&["HeldDepositRefunded"]).stands("pending");
    let found = deposit(2, 100).of_asset(other).assign_unmatched();
    opened(|_| {}).when(found).refused(&PaymentError::InvalidDecision(reason));
}
