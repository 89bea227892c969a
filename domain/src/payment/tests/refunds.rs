//! The rulebook of refunds.

use super::fixture::{
    DEADLINE, Scenario, at, cancel_refund, complete_refund, deposit, opened, refund, refund_id, request_refund, usdt,
};
use crate::money::{AssetId, Money};
use crate::payment::PaymentCommand::{Cancel, CompleteRefund, Expire, RequestRefund};
use crate::payment::{PaymentCommand, PaymentError, PaymentEvent, PaymentStatus};

fn completed() -> Scenario {
    opened(|_| {}).when(deposit(1, 100).confirmed()).stands("completed")
}

/// Expired with 40 of 100.
fn underpaid() -> Scenario {
    let expire = Expire { at: at(DEADLINE) };
    opened(|_| {}).given([deposit(1, 40).confirmed(), expire]).stands("expired underpaid")
}

fn too_large(requested: u128, refundable: u128) -> PaymentError {
    let money = |minor| Money::new(minor, usdt().id);
    PaymentError::RefundTooLarge { requested: money(requested), refundable: money(refundable) }
}

#[test]
fn all_of_it_goes_back() {
    let scenario = completed().when(request_refund(1, 100)).then(&["RefundRequested"]).stands("completed");
    let scenario = scenario.when(complete_refund(1)).then(&["RefundCompleted", "PaymentRefunded"]).stands("refunded");
    let [_, PaymentEvent::PaymentRefunded(standing)] = scenario.last_events() else { panic!("not refunded") };
    assert_eq!(standing.amount_refunded, Some(Money::new(100, usdt().id)));
    assert_eq!(standing.transaction_hash.as_deref(), Some("0xrefund1"));
    assert_eq!(standing.status, PaymentStatus::Refunded);
}

#[test]
fn a_part_of_it_goes_back() {
    let scenario = completed().given([request_refund(1, 30)]);
    let scenario = scenario.when(complete_refund(1)).then(&["RefundCompleted", "PaymentAdjusted"]);
    let scenario = scenario.stands("completed partially_refunded").given([request_refund(2, 20)]);
    let scenario = scenario.when(complete_refund(2)).then(&["RefundCompleted", "PaymentAdjusted"]);
    let scenario = scenario.stands("completed partially_refunded").given([request_refund(3, 50)]);
    scenario.when(complete_refund(3)).then(&["RefundCompleted", "PaymentRefunded"]).stands("refunded");
}

#[test]
fn the_surplus_goes_back() {
    opened(|_| {})
        .given([deposit(1, 130).confirmed(), request_refund(1, 30)])
        .when(complete_refund(1))
        .then(&["RefundCompleted", "PaymentAdjusted"])
        .stands("completed overpaid partially_refunded");
}

#[test]
fn what_was_not_enough_goes_back() {
    underpaid()
        .given([request_refund(1, 40)])
        .when(complete_refund(1))
        .then(&["RefundCompleted", "PaymentRefunded"])
        .stands("refunded");
}

#[test]
fn never_more_than_what_is_confirmed_and_free() {
    completed().when(request_refund(1, 101)).refused(&too_large(101, 100));
    let half = completed().given([request_refund(1, 60)]);
    half.clone().when(request_refund(2, 41)).refused(&too_large(41, 40));
    half.clone().when(request_refund(2, 40)).then(&["RefundRequested"]);
    half.clone().given([complete_refund(1)]).when(request_refund(2, 41)).refused(&too_large(41, 40));
    half.given([cancel_refund(1)]).when(request_refund(2, 100)).then(&["RefundRequested"]);
    let unconfirmed = completed().given([deposit(2, 50).seen()]);
    unconfirmed.when(request_refund(1, 101)).refused(&too_large(101, 100));
}

#[test]
fn held_money_and_other_assets_are_not_refunded() {
    let other = AssetId::native(&super::fixture::chain());
    completed()
        .given([deposit(2, 50).of_asset(other.clone()).confirmed()])
        .when(request_refund(1, 101))
        .refused(&too_large(101, 100));
    let wrong = refund(1, 10, |request| request.amount = Money::new(10, other));
    completed().when(wrong).refused(&PaymentError::InvalidRefund("the amount must be of the payment's asset"));
    let cancelled = opened(|_| {}).given([Cancel { at: at(1) }, deposit(1, 100).confirmed()]).stands("held");
    cancelled.when(request_refund(1, 1)).refused(&too_large(1, 0));
}

#[test]
fn contradictory_requests_are_refused() {
    type Change = fn(&mut crate::payment::RequestRefund);
    let refusals: [(Change, &'static str); 5] = [
        (|r| r.amount = Money::zero(usdt().id), "the amount must be more than zero"),
        (|r| r.to.clear(), "the address must have 1 to 500 bytes"),
        (|r| r.to = "x".repeat(501), "the address must have 1 to 500 bytes"),
        (|r| r.reason.clear(), "the reason must have 1 to 500 bytes"),
        (|r| r.reason = "x".repeat(501), "the reason must have 1 to 500 bytes"),
    ];
    for (change, why) in refusals {
        completed().when(refund(1, 10, change)).refused(&PaymentError::InvalidRefund(why));
    }
}

#[test]
fn a_payment_that_waits_for_money_gives_none_back() {
    let waiting = |scenario: Scenario, status| {
        scenario.when(request_refund(1, 1)).refused(&PaymentError::NotRefundable { status });
    };
    waiting(opened(|_| {}), PaymentStatus::Pending);
    waiting(opened(|_| {}).given([deposit(1, 40).confirmed()]), PaymentStatus::PartiallyPaid);
    waiting(opened(|_| {}).given([deposit(1, 40).confirmed(), deposit(2, 60).seen()]), PaymentStatus::Confirming);
}

#[test]
fn the_same_words_again_change_nothing() {
    let requested = completed().given([request_refund(1, 30)]);
    requested.clone().when(request_refund(1, 30)).then(&[]);
    requested.clone().when(request_refund(1, 31)).refused(&PaymentError::RefundExists(refund_id(1)));
    let sent = requested.clone().given([complete_refund(1)]);
    sent.clone().when(complete_refund(1)).then(&[]);
    sent.clone().when(request_refund(1, 30)).then(&[]);
    let cancelled = requested.when(cancel_refund(1)).then(&["RefundCancelled"]);
    cancelled.clone().when(cancel_refund(1)).then(&[]);
    let closed = |state| PaymentError::RefundClosed { refund: refund_id(1), state };
    cancelled.when(complete_refund(1)).refused(&closed("cancelled"));
    sent.clone().when(cancel_refund(1)).refused(&closed("completed"));
    let PaymentCommand::CompleteRefund(mut other) = complete_refund(1) else { unreachable!() };
    other.transaction = "0xother".to_owned();
    sent.when(CompleteRefund(other)).refused(&closed("completed"));
}

#[test]
fn refunds_that_were_never_asked_for_are_not_known() {
    completed().when(complete_refund(1)).refused(&PaymentError::RefundNotFound(refund_id(1)));
    completed().when(cancel_refund(1)).refused(&PaymentError::RefundNotFound(refund_id(1)));
    let PaymentCommand::RequestRefund(request) = request_refund(1, 1) else { unreachable!() };
    Scenario::default().when(RequestRefund(request)).refused(&PaymentError::NotFound);
}

#[test]
fn the_fee_of_the_network_is_in_its_coin() {
    let PaymentCommand::CompleteRefund(mut complete) = complete_refund(1) else { unreachable!() };
    complete.network_fee = Some(Money::new(1, usdt().id));
    let why = "the network fee must be in the chain's native coin";
    let requested = completed().given([request_refund(1, 30)]);
    requested.when(CompleteRefund(complete)).refused(&PaymentError::InvalidRefund(why));
}

#[test]
fn money_that_left_is_recorded_whatever_became_of_the_deposit() {
    let lost = completed().given([request_refund(1, 100), deposit(1, 100).revision(2).orphaned()]).stands("reversed");
    lost.when(complete_refund(1))
        .then(&["RefundCompleted", "PaymentReversed"])
        .stands("reversed partially_refunded")
        .when(request_refund(2, 1))
        .refused(&too_large(1, 0));
}

#[test]
fn a_tip_to_a_refunded_payment_does_not_complete_it_again() {
    let refunded = completed().given([request_refund(1, 100), complete_refund(1)]).stands("refunded");
    let seen = refunded.when(deposit(2, 5).seen()).then(&["DepositDetected", "PaymentRefunded"]).stands("refunded");
    seen.when(deposit(2, 5).revision(2).confirmed())
        .then(&["DepositConfirmed", "PaymentAdjusted"])
        .stands("completed overpaid partially_refunded");
}

#[test]
fn money_that_goes_back_completes_nothing() {
    let going = underpaid().given([request_refund(1, 40)]);
    let more = going.when(deposit(2, 60).confirmed()).stands("expired underpaid");
    more.clone().when(cancel_refund(1)).then(&["RefundCancelled", "PaymentCompleted"]).stands("completed");
    let sent = more.when(complete_refund(1)).then(&["RefundCompleted", "PaymentExpired"]);
    sent.stands("expired underpaid partially_refunded")
        .when(deposit(3, 40).late().confirmed())
        .then(&["DepositDetected", "DepositConfirmed", "PaymentCompleted"])
        .stands("completed overpaid partially_refunded");
}
