//! Every row of the state table.

use super::fixture::{DEADLINE, Scenario, at, chain, create, deposit, hold_late, opened, tolerate};
use crate::money::AssetId;
use crate::payment::PaymentCommand::{Cancel, Create, Expire};
use crate::payment::{DepositState, Disposition, HoldReason, PaymentError, PaymentStatus};

fn plain() -> Scenario {
    opened(|_| {})
}

fn expire() -> crate::payment::PaymentCommand {
    Expire { at: at(DEADLINE) }
}

#[test]
fn a_payment_is_opened_once() {
    plain()
        .then(&["PaymentCreated"])
        .stands("pending")
        .when(Create(Box::new(create())))
        .refused(&PaymentError::AlreadyExists);
}

#[test]
fn contradictory_terms_are_refused() {
    type Change = fn(&mut crate::payment::CreatePayment);
    let refusals: [(Change, &'static str); 4] = [
        (|r| r.terms.amount = crate::Money::zero(r.terms.asset.id.clone()), "the amount must be more than zero"),
        (|r| r.terms.chain = "bsc".parse().unwrap(), "amount, asset and chain must agree"),
        (|r| r.terms.expires_at = r.at, "the deadline must lie ahead"),
        (|r| r.terms.policy.required_confirmations = 0, "at least one confirmation is required"),
    ];
    for (change, reason) in refusals {
        opened(change).refused(&PaymentError::InvalidTerms(reason));
    }
}

#[test]
fn nothing_happens_to_a_payment_that_was_never_opened() {
    for command in [deposit(1, 100).seen(), expire(), Cancel { at: at(1) }] {
        Scenario::default().when(command).refused(&PaymentError::NotFound);
    }
}

#[test]
fn the_exact_amount_completes_it() {
    plain()
        .when(deposit(1, 100).seen())
        .then(&["DepositDetected", "PaymentConfirming"])
        .stands("confirming")
        .when(deposit(1, 100).revision(2).confirmed())
        .then(&["DepositConfirmed", "PaymentCompleted"])
        .stands("completed");
}

#[test]
fn a_deposit_may_be_confirmed_at_first_sight() {
    plain()
        .when(deposit(1, 100).confirmed())
        .then(&["DepositDetected", "DepositConfirmed", "PaymentCompleted"])
        .stands("completed");
}

#[test]
fn several_deposits_add_up() {
    plain()
        .when(deposit(1, 40).seen())
        .then(&["DepositDetected", "PaymentPartiallyPaid"])
        .stands("partially_paid")
        .when(deposit(2, 30).seen())
        .then(&["DepositDetected", "PaymentPartiallyPaid"])
        .when(deposit(1, 40).revision(2).confirmed())
        .then(&["DepositConfirmed"])
        .when(deposit(3, 30).seen())
        .then(&["DepositDetected", "PaymentConfirming"])
        .given([deposit(2, 30).revision(2).confirmed()])
        .stands("confirming")
        .when(deposit(3, 30).revision(2).confirmed())
        .stands("completed");
}

#[test]
fn more_than_asked_is_overpaid() {
    plain()
        .given([deposit(1, 101).seen()])
        .stands("confirming")
        .given([deposit(1, 101).revision(2).confirmed()])
        .stands("completed overpaid");
}

#[test]
fn money_after_completion_adjusts_it() {
    plain()
        .given([deposit(1, 100).confirmed()])
        .when(deposit(2, 5).seen())
        .then(&["DepositDetected"])
        .when(deposit(2, 5).revision(2).confirmed())
        .then(&["DepositConfirmed", "PaymentAdjusted"])
        .stands("completed overpaid")
        .when(deposit(2, 5).revision(3).orphaned())
        .then(&["DepositOrphaned", "PaymentAdjusted"])
        .stands("completed");
}

#[test]
fn a_little_less_is_enough_within_the_tolerance() {
    opened(tolerate(2)).given([deposit(1, 98).confirmed()]).stands("completed");
    opened(tolerate(2)).given([deposit(1, 97).confirmed()]).stands("partially_paid");
}

#[test]
fn a_tolerance_of_everything_still_needs_something() {
    opened(tolerate(100)).stands("pending").given([deposit(1, 1).confirmed()]).stands("completed");
}

#[test]
fn the_deadline_passes() {
    plain()
        .when(Expire { at: at(DEADLINE - 1) })
        .refused(&PaymentError::NotYetDue { expires_at: at(DEADLINE) })
        .when(expire())
        .then(&["PaymentExpired"])
        .stands("expired")
        .when(expire())
        .then(&[]);
}

#[test]
fn the_deadline_passes_with_some_money() {
    plain().given([deposit(1, 40).seen()]).when(expire()).then(&["PaymentExpired"]).stands("expired underpaid");
}

#[test]
fn enough_money_outlives_the_deadline() {
    for given in [vec![deposit(1, 100).seen()], vec![deposit(1, 100).confirmed()]] {
        plain().given(given).when(expire()).then(&[]);
    }
}

#[test]
fn money_in_time_that_is_seen_after_the_deadline_is_not_late() {
    plain()
        .given([expire(), deposit(1, 100).seen()])
        .stands("confirming")
        .given([deposit(1, 100).revision(2).confirmed()])
        .stands("completed");
}

#[test]
fn late_money_completes_it_where_the_policy_accepts() {
    plain()
        .given([expire()])
        .when(deposit(1, 100).late().seen())
        .then(&["DepositDetected", "PaymentConfirming"])
        .given([deposit(1, 100).late().revision(2).confirmed()])
        .stands("completed paid_late");
}

#[test]
fn late_money_tells_that_the_deadline_is_behind_us() {
    plain().when(deposit(1, 40).late().seen()).then(&["DepositDetected", "PaymentExpired"]).stands("expired underpaid");
}

#[test]
fn more_late_money_is_announced_while_it_is_not_enough() {
    plain()
        .given([expire(), deposit(1, 40).late().seen()])
        .when(deposit(2, 40).late().seen())
        .then(&["DepositDetected", "PaymentExpired"]);
}

#[test]
fn late_money_is_held_where_the_policy_says_so() {
    let scenario = opened(hold_late)
        .given([expire()])
        .when(deposit(1, 100).late().seen())
        .then(&["DepositDetected", "PaymentHeld"])
        .when(deposit(1, 100).late().revision(2).confirmed())
        .then(&["DepositConfirmed"])
        .stands("held");
    let deposit = scenario.payment.state().unwrap().deposits.values().next().unwrap().clone();
    assert_eq!(deposit.disposition, Disposition::Hold(HoldReason::Late));
}

#[test]
fn held_money_that_vanishes_leaves_it_expired() {
    opened(hold_late)
        .given([expire(), deposit(1, 100).late().seen(), deposit(1, 100).late().revision(2).orphaned()])
        .stands("expired");
}

#[test]
fn only_a_payment_without_money_can_be_cancelled() {
    plain()
        .when(Cancel { at: at(5) })
        .then(&["PaymentCancelled"])
        .stands("cancelled")
        .when(Cancel { at: at(6) })
        .then(&[]);
    let not_cancellable: [(Vec<crate::payment::PaymentCommand>, PaymentStatus); 5] = [
        (vec![deposit(1, 40).seen()], PaymentStatus::PartiallyPaid),
        (vec![deposit(1, 100).seen()], PaymentStatus::Confirming),
        (vec![deposit(1, 100).confirmed()], PaymentStatus::Completed),
        (vec![expire()], PaymentStatus::Expired),
        (vec![deposit(1, 100).confirmed(), deposit(1, 100).revision(2).orphaned()], PaymentStatus::Reversed),
    ];
    for (given, status) in not_cancellable {
        plain().given(given).when(Cancel { at: at(5) }).refused(&PaymentError::NotCancellable { status });
    }
}

#[test]
fn money_for_a_cancelled_payment_is_held() {
    plain()
        .given([Cancel { at: at(5) }])
        .when(deposit(1, 100).seen())
        .then(&["DepositDetected", "PaymentHeld"])
        .stands("held")
        .given([expire()])
        .stands("held")
        .given([deposit(1, 100).revision(2).orphaned()])
        .stands("cancelled");
}

#[test]
fn a_cancelled_payment_does_not_expire() {
    plain().given([Cancel { at: at(5) }]).when(expire()).then(&[]).stands("cancelled");
}

#[test]
fn another_asset_is_recorded_and_held_and_changes_nothing_else() {
    let scenario = plain()
        .when(deposit(1, 100).of_asset(AssetId::native(&chain())).seen())
        .then(&["DepositDetected"])
        .stands("pending")
        .when(deposit(1, 100).of_asset(AssetId::native(&chain())).revision(2).confirmed())
        .then(&["DepositConfirmed"])
        .stands("pending")
        .given([deposit(2, 100).confirmed()])
        .stands("completed");
    let dispositions: Vec<_> = scenario.payment.state().unwrap().deposits.values().map(|d| d.disposition).collect();
    assert_eq!(dispositions, [Disposition::Hold(HoldReason::WrongAsset), Disposition::Credit]);
}

#[test]
fn a_reorganization_before_completion_reopens_it() {
    plain()
        .given([deposit(1, 100).seen()])
        .when(deposit(1, 100).revision(2).orphaned())
        .then(&["DepositOrphaned", "PaymentReopened"])
        .stands("pending")
        .when(deposit(1, 100).revision(3).in_block(101, 20).seen())
        .then(&["DepositReincluded", "PaymentConfirming"])
        .given([deposit(1, 100).revision(4).in_block(101, 20).confirmed()])
        .stands("completed");
}

#[test]
fn a_reorganization_after_completion_reverses_it() {
    plain()
        .given([deposit(1, 100).confirmed()])
        .when(deposit(1, 100).revision(2).orphaned())
        .then(&["DepositOrphaned", "PaymentReversed"])
        .stands("reversed")
        .given([expire()])
        .stands("reversed")
        .given([deposit(1, 100).revision(3).in_block(101, 20).seen()])
        .stands("confirming")
        .given([deposit(1, 100).revision(4).in_block(101, 20).confirmed()])
        .stands("completed");
}

#[test]
fn a_reversed_payment_with_some_money_left_is_underpaid() {
    plain()
        .given([deposit(1, 60).confirmed(), deposit(2, 40).confirmed(), deposit(2, 40).revision(2).orphaned()])
        .stands("reversed underpaid");
}

#[test]
fn a_deposit_that_moved_to_another_block_is_taken_back_and_recorded_again() {
    plain()
        .given([deposit(1, 100).confirmed()])
        .when(deposit(1, 100).revision(3).in_block(101, 20).seen())
        .then(&["DepositOrphaned", "DepositReincluded", "PaymentConfirming"])
        .when(deposit(1, 100).revision(2).orphaned())
        .then(&[])
        .stands("confirming");
}

#[test]
fn a_deposit_that_moved_beyond_the_deadline_is_late() {
    plain()
        .given([deposit(1, 100).seen(), deposit(1, 100).revision(2).orphaned()])
        .given([deposit(1, 100).revision(3).late().confirmed()])
        .stands("completed paid_late");
}

#[test]
fn repetition_and_older_reports_change_nothing() {
    let scenario = plain().given([deposit(1, 100).revision(5).confirmed()]);
    for command in [
        deposit(1, 100).revision(5).confirmed(),
        deposit(1, 100).revision(4).orphaned(),
        deposit(1, 100).revision(1).seen(),
    ] {
        scenario.clone().when(command).then(&[]);
    }
}

#[test]
fn what_is_taken_back_is_what_was_booked() {
    let scenario =
        plain().given([deposit(1, 100).confirmed()]).when(deposit(1, 7).revision(2).in_block(9, 9).orphaned());
    let state = scenario.payment.state().unwrap();
    let kept = state.deposits.values().next().unwrap();
    assert_eq!((kept.state, kept.amount.minor()), (DepositState::Orphaned, 100));
}

#[test]
fn sums_that_do_not_fit_are_refused_and_change_nothing() {
    let scenario = plain().given([deposit(1, u128::MAX).seen()]).when(deposit(2, 1).seen());
    let before = scenario.payment.clone();
    let scenario =
        scenario.refused(&PaymentError::Money(crate::money::MoneyError::Overflow(super::fixture::usdt().id)));
    assert_eq!(scenario.payment, before);
}

#[test]
fn another_amount_in_the_same_block_is_recorded_anew_before_it_is_booked() {
    plain()
        .given([deposit(1, 100).seen()])
        .when(deposit(1, 90).revision(2).confirmed())
        .then(&["DepositOrphaned", "DepositReincluded", "DepositConfirmed", "PaymentPartiallyPaid"])
        .when(deposit(1, 90).revision(3).orphaned())
        .then(&["DepositOrphaned", "PaymentReopened"]);
}
