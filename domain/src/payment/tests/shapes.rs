//! The stored shape of every event. A change here is a new event version, never an edit.

use super::fixture::{DEADLINE, Scenario, at, deposit, hold_late, opened};
use crate::payment::PaymentCommand::{Cancel, Expire};
use crate::payment::{PaymentCommand, PaymentEvent, decide, evolve};

const GOLDEN: &str = include_str!("events-1.0.jsonl");

/// The events of a few short lives that together show every type.
fn every_event() -> Vec<PaymentEvent> {
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

#[test]
fn version_one_is_written_as_ever() {
    let written: Vec<String> = every_event().iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    assert_eq!(written.join("\n"), GOLDEN.trim_end(), "the shape of a stored event changed");
}

#[test]
fn version_one_stays_readable() {
    let events: Vec<PaymentEvent> = GOLDEN.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events, every_event());
    let names: std::collections::BTreeSet<_> = events.iter().map(PaymentEvent::name).collect();
    assert_eq!(names.len(), 14, "every type is shown: {names:?}");
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
