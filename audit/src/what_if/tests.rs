//! The rulebook of what-if: given facts, under another policy, then outcomes.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;
use wopay_domain::payment::{
    CompleteRefund, CreatePayment, DepositReport, DepositStage, LateDeposits, Payment, PaymentCommand, PaymentEvent,
    PaymentPolicy, PaymentTerms, RequestRefund, decide, evolve,
};
use wopay_domain::{
    Asset, AssetId, BlockRef, ChainName, DepositKey, DepositLeg, MerchantId, Money, PaymentId, Percentage, RefundId,
    Timestamp,
};

use super::heads::Heads;
use super::outcome::{Compared, Kind, compare};
use super::policy::Overrides;
use super::run::World;

const DEADLINE: i64 = 3600;
const HORIZON: i64 = 100_000;

fn at(second: i64) -> Timestamp {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap() + TimeDelta::seconds(second)
}

fn chain() -> ChainName {
    "bsc".parse().unwrap()
}

fn asset() -> Asset {
    let id = AssetId::token(&chain(), "0x55d398326f99059ff775485246999027b3197955").unwrap();
    Asset { id, symbol: "USDT".to_owned(), decimals: 2 }
}

fn percent(percent: &str) -> Percentage {
    serde_json::from_value(serde_json::Value::String(percent.to_owned())).unwrap()
}

/// A payment of 100.00 USDT with 15 confirmations, and what it is told.
struct Story {
    payment: Payment,
    events: Vec<PaymentEvent>,
    heads: Heads,
}

impl Story {
    fn begin(change: impl FnOnce(&mut PaymentTerms)) -> Self {
        let mut terms = PaymentTerms {
            amount: Money::new(10_000, asset().id),
            asset: asset(),
            chain: chain(),
            address: "0x00000000000000000000000000000000000000aa".to_owned(),
            callback_url: None,
            expires_at: at(DEADLINE),
            policy: PaymentPolicy {
                underpayment_tolerance: Percentage::ZERO,
                required_confirmations: 15,
                late_deposits: LateDeposits::Accept,
            },
        };
        change(&mut terms);
        let create = CreatePayment {
            payment_id: PaymentId::from_uuid(uuid::Uuid::from_u128(1)),
            merchant_id: MerchantId::from_uuid(uuid::Uuid::from_u128(2)),
            order_id: "ORDER-1".to_owned(),
            terms,
            at: at(0),
        };
        let story = Self { payment: Payment::default(), events: Vec::new(), heads: Heads::default() };
        story.told(PaymentCommand::Create(Box::new(create)))
    }

    fn told(mut self, command: PaymentCommand) -> Self {
        for event in decide(&self.payment, command).unwrap() {
            evolve(&mut self.payment, event.clone());
            self.heads.learn("1", &event);
            self.events.push(event);
        }
        self
    }

    /// Another payment's deposit on the same chain: it tells where the head stood.
    fn head_at(mut self, height: u64, second: i64) -> Self {
        let other = Self::begin(|_| {}).seen(9, 1, height, second).confirmed(9, 2, height, 1, second);
        let confirmation = other.events.iter().find(|event| event.name() == "DepositConfirmed").unwrap();
        self.heads.learn("2", confirmation);
        self
    }

    fn report(self, number: u32, revision: u64, block: u64, stage: DepositStage, second: i64, minor: u128) -> Self {
        self.told(PaymentCommand::ObserveDeposit(Box::new(DepositReport {
            deposit: key(number),
            revision,
            amount: Money::new(minor, asset().id),
            from: Some("0x00000000000000000000000000000000000000bb".to_owned()),
            block: BlockRef { number: block, hash: format!("0x{block:064x}"), time: at(second) },
            stage,
            at: at(second),
        })))
    }

    /// All of the money, in a block whose time is that of the report.
    fn seen(self, number: u32, revision: u64, block: u64, second: i64) -> Self {
        self.report(number, revision, block, DepositStage::Seen { confirmations: 1 }, second, 10_000)
    }

    fn paid(self, number: u32, revision: u64, block: u64, second: i64, minor: u128) -> Self {
        self.report(number, revision, block, DepositStage::Seen { confirmations: 1 }, second, minor)
    }

    fn confirmed(self, number: u32, revision: u64, block: u64, confirmations: u32, second: i64) -> Self {
        let state = self.payment.state().unwrap();
        let deposit = state.deposits.get(&key(number)).unwrap().clone();
        let time = deposit.block.time;
        self.told(PaymentCommand::ObserveDeposit(Box::new(DepositReport {
            deposit: key(number),
            revision,
            amount: deposit.amount,
            from: deposit.from,
            block: BlockRef { number: block, hash: format!("0x{block:064x}"), time },
            stage: DepositStage::Confirmed { confirmations },
            at: at(second),
        })))
    }

    fn orphaned(self, number: u32, revision: u64, block: u64, second: i64) -> Self {
        self.report(number, revision, block, DepositStage::Orphaned, second, 10_000)
    }

    fn expired(self, second: i64) -> Self {
        self.told(PaymentCommand::Expire { at: at(second) })
    }

    fn under(self, overrides: &Overrides) -> Compared {
        let world = World { overrides, heads: &self.heads, horizon: at(HORIZON) };
        compare(self.events, world).unwrap()
    }
}

fn key(number: u32) -> DepositKey {
    DepositKey { chain: chain(), transaction: format!("0x{number:064x}"), leg: DepositLeg::Log(0) }
}

fn confirmations(count: u32) -> Overrides {
    Overrides { confirmations: [(chain(), count)].into(), ..Overrides::default() }
}

fn statuses(compared: &Compared) -> (String, String) {
    (compared.difference.recorded.in_words(), compared.difference.what_if.in_words())
}

#[test]
fn a_tolerance_completes_what_was_underpaid() {
    let story = || Story::begin(|_| {}).paid(1, 1, 100, 10, 9_950).confirmed(1, 2, 100, 15, 60).expired(DEADLINE + 1);
    let tolerant = Overrides { tolerance: Some(percent("0.5")), ..Overrides::default() };
    let compared = story().under(&tolerant);
    assert_eq!(statuses(&compared), ("expired underpaid".to_owned(), "completed".to_owned()));
    assert_eq!(compared.difference.kind, Kind::OtherEnd);
    assert_eq!(compared.difference.what_if.completed_at, Some(at(60)));

    let strict = Overrides { tolerance: Some(percent("0.49")), ..Overrides::default() };
    assert_eq!(story().under(&strict).difference.kind, Kind::Same);
}

#[test]
fn without_its_tolerance_a_completed_payment_would_have_expired() {
    let tolerant = |terms: &mut PaymentTerms| terms.policy.underpayment_tolerance = percent("1");
    let story = Story::begin(tolerant).paid(1, 1, 100, 10, 9_900).confirmed(1, 2, 100, 15, 60);
    let strict = Overrides { tolerance: Some(Percentage::ZERO), ..Overrides::default() };
    // No event says that the scheduler ran: the payment was completed then. It would have, at the deadline.
    assert_eq!(statuses(&story.under(&strict)), ("completed".to_owned(), "expired underpaid".to_owned()));
}

#[test]
fn late_money_is_held_or_counts() {
    let story = Story::begin(|_| {}).expired(DEADLINE + 1).seen(1, 1, 5_000, DEADLINE + 60).confirmed(
        1,
        2,
        5_000,
        15,
        DEADLINE + 90,
    );
    let hold = Overrides { late: Some(LateDeposits::Hold), ..Overrides::default() };
    let compared = story.under(&hold);
    assert_eq!(statuses(&compared), ("completed paid_late".to_owned(), "held".to_owned()));
    assert_eq!(compared.difference.what_if.amount_confirmed, "0");
}

#[test]
fn a_longer_deadline_makes_late_money_timely_and_a_shorter_one_the_reverse() {
    let late = Story::begin(|_| {}).expired(DEADLINE + 1).seen(1, 1, 5_000, DEADLINE + 60).confirmed(
        1,
        2,
        5_000,
        15,
        DEADLINE + 90,
    );
    let longer = Overrides { expires_in: Some(Duration::from_secs(7_200)), ..Overrides::default() };
    let compared = late.under(&longer);
    assert_eq!(statuses(&compared), ("completed paid_late".to_owned(), "completed".to_owned()));
    assert_eq!(compared.difference.what_if.announced, ["PaymentConfirming", "PaymentCompleted"]);

    let timely = Story::begin(|_| {}).seen(1, 1, 100, 700).confirmed(1, 2, 100, 15, 760);
    let shorter = Overrides { expires_in: Some(Duration::from_secs(600)), ..Overrides::default() };
    let compared = timely.under(&shorter);
    assert_eq!(statuses(&compared), ("completed".to_owned(), "completed paid_late".to_owned()));
    assert_eq!(compared.difference.what_if.announced, ["PaymentExpired", "PaymentConfirming", "PaymentCompleted"]);
}

#[test]
fn a_cancellation_after_a_shorter_deadline_is_refused() {
    let story = Story::begin(|_| {}).told(PaymentCommand::Cancel { at: at(1_000) });
    let shorter = Overrides { expires_in: Some(Duration::from_secs(600)), ..Overrides::default() };
    let compared = story.under(&shorter);
    assert_eq!(statuses(&compared), ("cancelled".to_owned(), "expired".to_owned()));
    assert_eq!(compared.difference.refused, ["cancel: a payment that is expired cannot be cancelled"]);
}

#[test]
fn fewer_confirmations_complete_sooner_within_known_bounds() {
    let story = Story::begin(|_| {}).seen(1, 1, 100, 10).head_at(101, 20).head_at(103, 30).confirmed(1, 2, 100, 15, 60);
    let compared = story.under(&confirmations(3));
    // Block 102 is the third. At second 20 the head was 101, at second 30 it was 103.
    assert_eq!(compared.difference.kind, Kind::Same);
    assert_eq!(compared.difference.what_if.completed_at, Some(at(30)));
    let earliest = compared.earliest.unwrap();
    assert_eq!(earliest.payment.state().unwrap().completed_at, Some(at(20)));
    assert_eq!(compared.completion, super::outcome::Completion::Sooner);
}

#[test]
fn whether_a_reorganized_deposit_would_have_been_confirmed_may_be_unknown() {
    let story = || Story::begin(|_| {}).seen(1, 1, 100, 10);
    let unknown = story().orphaned(1, 2, 100, 60).expired(DEADLINE + 1).under(&confirmations(3));
    assert_eq!(unknown.difference.kind, Kind::Uncertain);
    assert_eq!(unknown.difference.what_if.in_words(), "expired");
    assert_eq!(unknown.difference.what_if_earliest.unwrap().in_words(), "reversed");

    // Another deposit shows that the head was at 102 before the reorganization.
    let known = story().head_at(102, 40).orphaned(1, 2, 100, 60).expired(DEADLINE + 1).under(&confirmations(3));
    assert_eq!(known.latest.payment.state().unwrap().status.as_str(), "reversed");
    assert_eq!(known.difference.kind, Kind::OtherEnd);
}

#[test]
fn more_confirmations_spare_a_payment_its_reversal_if_the_events_tell() {
    let story = || Story::begin(|_| {}).seen(1, 1, 100, 10).confirmed(1, 2, 100, 15, 60);
    // Orphaned at height 114 at least; whether the head had come to 129 nobody tells.
    let unknown = story().orphaned(1, 3, 100, 90).expired(DEADLINE + 1).under(&confirmations(30));
    assert_eq!(unknown.difference.kind, Kind::Uncertain);
    assert_eq!(unknown.difference.recorded.in_words(), "reversed");
    assert_eq!(unknown.difference.what_if.in_words(), "expired");

    let later = story().head_at(140, 200).under(&confirmations(30));
    assert_eq!(later.difference.kind, Kind::Same);
    assert_eq!(later.completion, super::outcome::Completion::Later);
    assert_eq!(later.difference.what_if.completed_at, Some(at(200)));

    let not_yet = story().under(&confirmations(30));
    assert_eq!(not_yet.difference.kind, Kind::Uncertain);
    assert_eq!(not_yet.difference.what_if.in_words(), "confirming");
}

#[test]
fn the_recorded_number_of_confirmations_changes_nothing() {
    let story = Story::begin(|_| {}).seen(1, 1, 100, 10).confirmed(1, 2, 100, 15, 60);
    let compared = story.under(&confirmations(15));
    assert_eq!(compared.difference.kind, Kind::Same);
    assert!(compared.earliest.is_none());
}

#[test]
fn refunds_are_facts_too() {
    let refund_id = RefundId::from_uuid(uuid::Uuid::from_u128(7));
    let request = RequestRefund {
        refund_id,
        amount: Money::new(10_000, asset().id),
        to: "0xbb".to_owned(),
        reason: "returned".to_owned(),
        at: at(100),
    };
    let complete = CompleteRefund { refund_id, transaction: "0xfeed".to_owned(), network_fee: None, at: at(200) };
    let story = || {
        Story::begin(|_| {})
            .seen(1, 1, 100, 10)
            .confirmed(1, 2, 100, 15, 60)
            .told(PaymentCommand::RequestRefund(Box::new(request.clone())))
            .told(PaymentCommand::CompleteRefund(Box::new(complete.clone())))
    };
    assert_eq!(story().under(&Overrides::default()).difference.recorded.in_words(), "refunded");
    // Late money that is held cannot be refunded as if it were credited.
    let hold =
        Overrides { late: Some(LateDeposits::Hold), expires_in: Some(Duration::from_secs(5)), ..Overrides::default() };
    let compared = story().under(&hold);
    assert_eq!(compared.difference.what_if.in_words(), "held");
    assert_eq!(compared.difference.refused.len(), 2);
}

fn any_command() -> impl Strategy<Value = PaymentCommand> {
    let stage = prop_oneof![
        (1_u32..20).prop_map(|confirmations| DepositStage::Seen { confirmations }),
        (1_u32..20).prop_map(|confirmations| DepositStage::Confirmed { confirmations }),
        Just(DepositStage::Orphaned),
    ];
    let amount = prop_oneof![Just(10_000_u128), 1_u128..20_000];
    let report = (0_u32..3, amount, 1_u64..30, 0_u64..4, any::<bool>(), stage, 1_i64..8_000).prop_map(
        |(number, minor, revision, block, late, stage, second)| {
            let time = at(if late { DEADLINE + 1 } else { 10 });
            PaymentCommand::ObserveDeposit(Box::new(DepositReport {
                deposit: key(number),
                revision,
                amount: Money::new(minor, asset().id),
                from: None,
                block: BlockRef { number: block, hash: format!("0x{block:064x}{late}"), time },
                stage,
                at: at(second),
            }))
        },
    );
    let refund = |n: u128| RefundId::from_uuid(uuid::Uuid::from_u128(n));
    prop_oneof![
        8 => report,
        1 => (0_i64..8_000).prop_map(|second| PaymentCommand::Expire { at: at(second) }),
        1 => (0_i64..8_000).prop_map(|second| PaymentCommand::Cancel { at: at(second) }),
        1 => (0_u128..3, 1_u128..12_000, 0_i64..8_000).prop_map(move |(n, minor, second)| {
            PaymentCommand::RequestRefund(Box::new(RequestRefund {
                refund_id: refund(n),
                amount: Money::new(minor, asset().id),
                to: "0xbb".to_owned(),
                reason: "why".to_owned(),
                at: at(second),
            }))
        }),
        1 => (0_u128..3, 0_i64..8_000).prop_map(move |(n, second)| {
            PaymentCommand::CompleteRefund(Box::new(CompleteRefund {
                refund_id: refund(n),
                transaction: format!("0xfeed{n}"),
                network_fee: None,
                at: at(second),
            }))
        }),
        1 => (0_u128..3, 0_i64..8_000).prop_map(move |(n, second)| PaymentCommand::CancelRefund {
            refund_id: refund(n),
            reason: "no".to_owned(),
            at: at(second),
        }),
    ]
}

fn played(commands: Vec<PaymentCommand>, hold: bool, tolerance: u32) -> Story {
    let mut story = Story::begin(|terms| {
        terms.policy.underpayment_tolerance = percent(&tolerance.to_string());
        terms.policy.late_deposits = if hold { LateDeposits::Hold } else { LateDeposits::Accept };
    });
    for command in commands {
        for event in decide(&story.payment, command).unwrap_or_default() {
            evolve(&mut story.payment, event.clone());
            story.heads.learn("1", &event);
            story.events.push(event);
        }
    }
    story
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_other_policy_gives_exactly_what_is_recorded(
        commands in prop::collection::vec(any_command(), 0..25), hold in any::<bool>(), tolerance in 0_u32..30,
    ) {
        let story = played(commands, hold, tolerance);
        let overrides = Overrides::default();
        let world = World { overrides: &overrides, heads: &story.heads, horizon: at(HORIZON) };
        let state = story.payment.state().unwrap().clone();
        let compared = compare(story.events, world).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(compared.difference.kind, Kind::Same);
        prop_assert!(compared.difference.refused.is_empty());
        let again = compared.latest.payment.state().unwrap();
        prop_assert_eq!(again.status, state.status);
        prop_assert_eq!(again.flags, state.flags);
        prop_assert_eq!(again.totals().unwrap(), state.totals().unwrap());
    }

    #[test]
    fn its_own_policy_named_gives_exactly_what_is_recorded(
        commands in prop::collection::vec(any_command(), 0..25), hold in any::<bool>(), tolerance in 0_u32..30,
    ) {
        let story = played(commands, hold, tolerance);
        let overrides = Overrides {
            confirmations: [(chain(), 15)].into(),
            tolerance: Some(percent(&tolerance.to_string())),
            late: Some(if hold { LateDeposits::Hold } else { LateDeposits::Accept }),
            fee: Some(percent("0.5")),
            expires_in: Some(Duration::from_secs(DEADLINE.unsigned_abs())),
        };
        let world = World { overrides: &overrides, heads: &story.heads, horizon: at(HORIZON) };
        let compared = compare(story.events, world).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(compared.difference.kind, Kind::Same);
        prop_assert_eq!(compared.difference.recorded, compared.difference.what_if);
    }

    #[test]
    fn any_policy_gives_books_that_balance(
        commands in prop::collection::vec(any_command(), 0..25), wanted in 1_u32..30, tolerance in 0_u32..30,
    ) {
        let story = played(commands, false, 0);
        let overrides = Overrides { tolerance: Some(percent(&tolerance.to_string())), ..confirmations(wanted) };
        let world = World { overrides: &overrides, heads: &story.heads, horizon: at(HORIZON) };
        let compared = compare(story.events, world).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let runs = [Some(&compared.latest), compared.earliest.as_ref()];
        for ran in runs.into_iter().flatten() {
            let mut books = crate::replay::Books::default();
            for event in &ran.events {
                let event = wopay_domain::LedgerEvent::Payment(event.clone());
                books.post(&wopay_domain::ledger::postings(&event)).unwrap();
            }
            prop_assert!(books.trial_balance().unwrap().iter().all(crate::replay::TrialBalance::is_balanced));
        }
    }
}
