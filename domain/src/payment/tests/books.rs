//! What must hold for the books after every event of every history.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::properties::{command_with_amount, play, world};
use crate::envelope::{LedgerEvent, decode};
use crate::ledger::{Account, Layer, Side, postings};
use crate::payment::{
    Deposit, DepositDecision, DepositState, Disposition, Payment, PaymentEvent, PaymentState, PaymentStatus,
    RefundState, decide, evolve,
};
use crate::upcast::current_version;

/// Debits less credits, by account, asset and layer.
#[derive(Default)]
struct Books {
    sums: BTreeMap<(Account, String, Layer), i128>,
    /// What decisions took out of suspense that the state does not say it took: sent back, or never held here.
    decided: i128,
    /// What is held for other payments, whose streams book what becomes of it.
    reassigned: i128,
}

impl Books {
    /// Books one event, and checks that its entry balances.
    fn book(&mut self, event: &PaymentEvent) {
        let mut sums = BTreeMap::new();
        for posting in postings(&LedgerEvent::Payment(event.clone())) {
            let amount = i128::try_from(posting.amount.minor()).unwrap();
            let signed = if posting.side == Side::Debit { amount } else { -amount };
            let asset = posting.amount.asset().to_string();
            *sums.entry((asset.clone(), posting.layer)).or_insert(0) += signed;
            *self.sums.entry((posting.account, asset, posting.layer)).or_insert(0) += signed;
        }
        match event {
            PaymentEvent::HeldDepositRefunded(refund) => self.decided += minor(refund.amount.minor()),
            PaymentEvent::HeldDepositReassigned(it) => self.reassigned += minor(it.amount.minor()),
            PaymentEvent::DepositAssigned(it) if it.was_unmatched => self.decided += minor(it.amount.minor()),
            _ => {}
        }
        assert!(sums.values().all(|sum| *sum == 0), "{} does not balance: {sums:?}", event.name());
    }

    fn balance(&self, account: &Account, layer: Layer) -> i128 {
        self.sums.iter().filter(|((name, _, of), _)| name == account && *of == layer).map(|(_, sum)| *sum).sum()
    }
}

fn minor(amount: u128) -> i128 {
    i128::try_from(amount).unwrap()
}

fn deposits(state: &PaymentState, stage: DepositState, credited: bool) -> i128 {
    let is_here = |deposit: &&Deposit| !matches!(deposit.decision, Some(DepositDecision::Reassigned { .. }));
    let wanted = state.deposits.values().filter(|deposit| deposit.state == stage).filter(is_here);
    let wanted = wanted.filter(|deposit| (deposit.disposition == Disposition::Credit) == credited);
    wanted.map(|deposit| minor(deposit.amount.minor())).sum()
}

fn refunds(state: &PaymentState, wanted: fn(&RefundState) -> bool) -> i128 {
    state.refunds.values().filter(|refund| wanted(&refund.state)).map(|refund| minor(refund.amount.minor())).sum()
}

/// The books say exactly what the state says; compared after each command.
fn check(books: &Books, state: &PaymentState) {
    let seen = |credited| deposits(state, DepositState::Seen, credited);
    let confirmed = |credited| deposits(state, DepositState::Confirmed, credited);
    let requested = refunds(state, |refund| matches!(refund, RefundState::Requested));
    let sent = refunds(state, |refund| matches!(refund, RefundState::Completed { .. }));
    let payable = Account::MerchantPayable(state.merchant_id);
    assert_eq!(-books.balance(&payable, Layer::Pending), seen(true) - requested, "pending payable");
    assert_eq!(-books.balance(&payable, Layer::Posted), confirmed(true) - sent, "posted payable");
    assert_eq!(-books.balance(&Account::Suspense, Layer::Pending), seen(false), "pending suspense");
    let suspense = confirmed(false) + books.reassigned - books.decided;
    assert_eq!(-books.balance(&Account::Suspense, Layer::Posted), suspense, "posted suspense");
    // Available: what is posted less what is on its way out. Never more than the refund rule hands out.
    let available = confirmed(true) - sent - requested;
    let refundable = minor(state.refundable().unwrap().minor());
    assert_eq!(refundable, available.max(0), "refundable is what is available");
}

fn balances_at_every_event(history: &[PaymentEvent], mut payment: Payment) -> Payment {
    let mut books = Books::default();
    for event in history {
        books.book(event);
        evolve(&mut payment, event.clone());
        check(&books, payment.state().unwrap());
    }
    payment
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn books_and_state_agree_after_every_event((in_order, shuffled, hold, tolerance) in world(), ordered: bool) {
        let opened = super::properties::payment(hold, tolerance);
        let reports = if ordered { in_order } else { shuffled };
        let (payment, history) = play(opened.clone(), reports, 3);
        prop_assert_eq!(balances_at_every_event(&history, opened.payment), payment);
    }

    #[test]
    fn any_history_is_read_back_as_it_was(commands in prop::collection::vec(command_with_amount(0_u128..200), 0..40)) {
        let mut payment = super::properties::payment(false, 0).payment;
        let mut replayed = payment.clone();
        for command in commands {
            for event in decide(&payment, command).unwrap_or_default() {
                let (text, version) = (serde_json::to_string(&event).unwrap(), current_version(event.name()));
                let read = decode("payment", event.name(), version, 1, &text).unwrap();
                prop_assert_eq!(&read, &LedgerEvent::Payment(event.clone()));
                let LedgerEvent::Payment(read) = read else { unreachable!() };
                evolve(&mut payment, event);
                evolve(&mut replayed, read);
            }
            prop_assert_eq!(&replayed, &payment);
            let state = payment.state().unwrap();
            let live: u128 = state.refunds.values().filter(|refund| refund.is_live()).map(|r| r.amount.minor()).sum();
            let totals = state.totals().unwrap();
            prop_assert_eq!(live, totals.refunded.minor() + totals.refunds_requested.minor());
            let all_back = !totals.confirmed.is_zero() && totals.refunded.minor() >= totals.confirmed.minor();
            prop_assert_eq!(state.status == PaymentStatus::Refunded, all_back, "{:?} with {:?}", state.status, totals);
            let partly = !totals.refunded.is_zero() && !all_back;
            prop_assert_eq!(state.flags.partially_refunded, partly, "{:?} with {:?}", state.flags, totals);
        }
    }

    #[test]
    fn refunds_never_exceed_what_was_paid(commands in prop::collection::vec(command_with_amount(0_u128..200), 0..40)) {
        let mut payment = super::properties::payment(false, 0).payment;
        let mut books = Books::default();
        let (mut confirmed_most, mut reorganized) = (0, false);
        for command in commands {
            let Ok(events) = decide(&payment, command) else { continue };
            for event in events {
                reorganized |= matches!(&event, PaymentEvent::DepositOrphaned(orphaned) if orphaned.was_confirmed);
                books.book(&event);
                evolve(&mut payment, event);
            }
            let state = payment.state().unwrap();
            check(&books, state);
            let totals = state.totals().unwrap();
            confirmed_most = confirmed_most.max(totals.confirmed.minor());
            let live = totals.refunded.minor() + totals.refunds_requested.minor();
            prop_assert!(live <= confirmed_most, "{live} refunded of {confirmed_most}");
            prop_assert!(reorganized || live <= totals.confirmed.minor(), "only a reorganization takes money from under a refund");
        }
    }
}

/// Events from before 1.1 made no pending entry, so nothing may release one.
#[test]
fn deposits_of_older_versions_leave_nothing_pending() {
    let mut books = Books::default();
    for line in include_str!("events-1.0.jsonl").lines() {
        let name = line.split('"').nth(1).unwrap();
        let LedgerEvent::Payment(event) = decode("payment", name, "1.0", 1, line).unwrap() else { unreachable!() };
        books.book(&event);
    }
    assert!(books.sums.keys().all(|(_, _, layer)| *layer == Layer::Posted));
}
