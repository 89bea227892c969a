//! The stored shape of every event. A change here is a new event version, never an edit.

use serde_json::json;

use super::fixture::{
    DEADLINE, Scenario, at, cancel_refund, complete_refund, deposit, hold_late, opened, other_payment, request_refund,
    told,
};
use crate::envelope::{LedgerEvent, decode};
use crate::ledger::effective_at;
use crate::payment::PaymentCommand::{Cancel, Expire};
use crate::payment::{AGGREGATE_TYPE, Holder, PaymentCommand, PaymentEvent, decide, evolve};
use crate::upcast::current_version;

/// As written before there was a pending layer.
const FIRST: &str = include_str!("events-1.0.jsonl");
/// As written today, and in older versions since 1.1: `{"event_version": …, "payload": …}` a line.
const TODAY: &str = include_str!("events-1.1.jsonl");

/// The events of a few short lives that together show every type.
fn every_event() -> Vec<PaymentEvent> {
    let mut events = first_lives();
    let refunded = [
        deposit(1, 100).confirmed(),
        request_refund(1, 30),
        complete_refund(1),
        request_refund(2, 70),
        cancel_refund(2),
        request_refund(3, 70),
        complete_refund(3),
    ];
    events.extend(live(&opened(|_| {}), &refunded));
    let decided = [
        Expire { at: at(DEADLINE) },
        deposit(4, 100).late().confirmed(),
        deposit(5, 7).late().confirmed(),
        deposit(4, 100).assign(),
        deposit(5, 7).sent_back(),
        deposit(6, 9).assign_unmatched(),
    ];
    events.extend(live(&opened(hold_late), &decided));
    let holder = Holder { payment_id: other_payment(), merchant_id: super::fixture::create().merchant_id };
    let reassigned = [
        deposit(7, 100).late().confirmed(),
        deposit(7, 100).reassign(other_payment()),
        told(deposit(7, 100).revision(2).late().orphaned(), other_payment()),
        deposit(8, 9).assign_held_by(holder),
        deposit(8, 9).revision(2).orphaned(),
        deposit(8, 9).revision(3).in_block(101, 20).confirmed(),
    ];
    events.extend(live(&opened(hold_late), &reassigned));
    events
}

/// Those that were lived before there were refunds.
fn first_lives() -> Vec<PaymentEvent> {
    let reorganized = [
        deposit(1, 40).seen(),
        deposit(1, 40).revision(2).orphaned(),
        deposit(1, 100).revision(3).in_block(101, 20).seen(),
        deposit(1, 100).revision(4).in_block(101, 20).confirmed(),
        deposit(2, 1).confirmed(),
        deposit(1, 100).revision(5).in_block(101, 20).orphaned(),
    ];
    let mut events = live(&opened(|_| {}), &reorganized);
    let late = [Expire { at: at(DEADLINE) }, deposit(3, 100).late().seen()];
    events.extend(live(&opened(hold_late), &late));
    events.extend(live(&opened(|_| {}), &[Cancel { at: at(1) }]));
    events
}

fn live(opened: &Scenario, commands: &[PaymentCommand]) -> Vec<PaymentEvent> {
    let mut payment = Scenario::default().payment;
    let create = PaymentCommand::Create(Box::new(super::fixture::create()));
    let mut events = decide(&payment, create).unwrap();
    payment.clone_from(&opened.payment);
    for command in commands {
        let next = decide(&payment, command.clone()).unwrap();
        next.iter().cloned().for_each(|event| evolve(&mut payment, event));
        events.extend(next);
    }
    events
}

/// As an event would be, had the program of version 1.0 written it.
fn without_pending(mut event: PaymentEvent) -> PaymentEvent {
    match &mut event {
        PaymentEvent::DepositDetected(deposit) => deposit.merchant_id = None,
        PaymentEvent::DepositReincluded(deposit) => deposit.merchant_id = None,
        PaymentEvent::DepositConfirmed(deposit) => deposit.releases_pending = false,
        PaymentEvent::DepositOrphaned(deposit) => deposit.releases_pending = false,
        _ => {}
    }
    event
}

fn stored(event: &PaymentEvent) -> String {
    let (version, payload) = (cqrs_es::DomainEvent::event_version(event), serde_json::to_string(event).unwrap());
    format!(r#"{{"event_version":"{version}","payload":{payload}}}"#)
}

#[test]
fn events_are_written_as_ever() {
    let written: Vec<String> = every_event().iter().map(stored).collect();
    // The name is the second text in quotes after the version.
    let is_current = |line: &&str| {
        let texts: Vec<&str> = line.split('"').collect();
        current_version(texts[7]) == texts[3]
    };
    let today: Vec<&str> = TODAY.lines().filter(is_current).collect();
    assert_eq!(written.join("\n"), today.join("\n"), "the shape of a stored event changed");
}

#[test]
fn what_is_written_is_read() {
    for event in every_event() {
        let payload = serde_json::to_string(&event).unwrap();
        let version = cqrs_es::DomainEvent::event_version(&event);
        assert_eq!(decode(AGGREGATE_TYPE, event.name(), &version, 1, &payload).unwrap(), LedgerEvent::Payment(event));
    }
}

#[test]
fn version_one_stays_readable() {
    let expected = first_lives();
    assert_eq!(FIRST.lines().count(), expected.len());
    for (line, event) in FIRST.lines().zip(expected) {
        let read = decode(AGGREGATE_TYPE, event.name(), "1.0", 1, line).unwrap();
        assert_eq!(read, LedgerEvent::Payment(without_pending(event)));
    }
}

/// Deposits by the chain's clock, the rest by that of who caused it.
#[test]
fn every_event_took_effect_when_what_it_speaks_of_happened() {
    for event in every_event() {
        let json = serde_json::to_value(&event).unwrap();
        let fields = &json[event.name()];
        if fields["assigned_at"].is_string() {
            let latest = fields["assigned_at"].as_str().max(fields["block"]["time"].as_str());
            assert_eq!(json!(effective_at(&LedgerEvent::Payment(event))).as_str(), latest, "{json}");
            continue;
        }
        // A decision about money took effect when it was made, whenever the money came.
        let block_time = if event.name() == "DepositAssigned" { &fields["at"] } else { &fields["block"]["time"] };
        let expected = [block_time, &fields["at"], &fields["created_at"]];
        let expected = expected.into_iter().find(|time| time.is_string()).unwrap();
        assert_eq!(&json!(effective_at(&LedgerEvent::Payment(event.clone()))), expected, "{json}");
    }
}

#[test]
fn events_without_a_standing_are_known_by_name() {
    for event in every_event() {
        assert_eq!(
            PaymentEvent::WITHOUT_STANDING.contains(&event.name()),
            event.standing().is_none(),
            "{}",
            event.name()
        );
    }
}
