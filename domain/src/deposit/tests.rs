#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::collections::BTreeMap;

use chrono::DateTime;
use proptest::prelude::*;

use super::{
    AGGREGATE_TYPE, AssignUnmatched, ObserveUnmatched, RefundUnmatched, UnmatchedDeposit, UnmatchedDepositCommand,
    UnmatchedDepositError, UnmatchedDepositEvent, decide, evolve,
};
use crate::chain::{BlockRef, DepositKey, DepositLeg};
use crate::envelope::{LedgerEvent, decode};
use crate::ids::{DepositId, PaymentId};
use crate::ledger::{Account, Layer, Side, effective_at, postings};
use crate::money::{AssetId, Money};
use crate::payment::{DepositReport, DepositStage};
use crate::{ChainName, Timestamp};

const GOLDEN: &str = include_str!("../upcast/golden/deposit.jsonl");

fn chain() -> ChainName {
    "ethereum".parse().unwrap()
}

fn at(second: i64) -> Timestamp {
    DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
}

fn key() -> DepositKey {
    DepositKey { chain: chain(), transaction: format!("0x{:064x}", 1), leg: DepositLeg::Log(3) }
}

fn report(revision: u64, minor: u128, block: u64, stage: DepositStage) -> DepositReport {
    DepositReport {
        deposit: key(),
        revision,
        amount: Money::new(minor, AssetId::native(&chain())),
        from: Some("0x00000000000000000000000000000000000000bb".to_owned()),
        block: BlockRef { number: block, hash: format!("0x{block:064x}"), time: at(10) },
        stage,
        at: at(20),
    }
}

fn observe(report: DepositReport) -> UnmatchedDepositCommand {
    let address = "0x00000000000000000000000000000000000000aa".to_owned();
    UnmatchedDepositCommand::Observe(Box::new(ObserveUnmatched { address, report, told: None }))
}

fn told(report: DepositReport) -> UnmatchedDepositCommand {
    let UnmatchedDepositCommand::Observe(mut command) = observe(report) else { unreachable!() };
    command.told = Some(payment());
    UnmatchedDepositCommand::Observe(command)
}

fn confirmed(revision: u64) -> DepositReport {
    report(revision, 100, 7, DepositStage::Confirmed { confirmations: 12 })
}

fn orphaned(revision: u64) -> DepositReport {
    report(revision, 100, 7, DepositStage::Orphaned)
}

fn payment() -> PaymentId {
    PaymentId::from_uuid(uuid::Uuid::from_u128(1))
}

fn assign() -> UnmatchedDepositCommand {
    let reason = "an older address of the same shop".to_owned();
    UnmatchedDepositCommand::Assign(AssignUnmatched { payment_id: payment(), reason, at: at(30) })
}

fn refund(transaction: &str) -> UnmatchedDepositCommand {
    UnmatchedDepositCommand::Refund(Box::new(RefundUnmatched {
        transaction: transaction.to_owned(),
        network_fee: Some(Money::new(2, AssetId::native(&chain()))),
        reason: "nobody knows what for".to_owned(),
        at: at(40),
    }))
}

/// Lets these happen and gives what followed from the last.
fn live(commands: impl IntoIterator<Item = UnmatchedDepositCommand>) -> Outcome {
    let (mut deposit, mut all, mut last) = (UnmatchedDeposit::default(), Vec::new(), Ok(Vec::new()));
    for command in commands {
        last = decide(&deposit, command);
        for event in last.iter().flatten() {
            evolve(&mut deposit, event.clone());
            all.push(event.clone());
        }
    }
    Outcome { deposit, all, last }
}

struct Outcome {
    deposit: UnmatchedDeposit,
    all: Vec<UnmatchedDepositEvent>,
    last: Result<Vec<UnmatchedDepositEvent>, UnmatchedDepositError>,
}

impl Outcome {
    fn names(&self) -> Vec<&'static str> {
        self.last.as_ref().unwrap().iter().map(UnmatchedDepositEvent::name).collect()
    }

    fn refused(&self) -> &UnmatchedDepositError {
        self.last.as_ref().unwrap_err()
    }

    /// Debits less credits, of every event that ever happened; each balances.
    fn balance(&self, account: &Account) -> i128 {
        let mut balance = 0;
        for event in &self.all {
            let mut sums = BTreeMap::new();
            for line in postings(&LedgerEvent::Deposit(event.clone())) {
                let amount = i128::try_from(line.amount.minor()).unwrap();
                let signed = if line.side == Side::Debit { amount } else { -amount };
                assert_eq!(line.layer, Layer::Posted);
                *sums.entry(line.amount.asset().to_string()).or_insert(0) += signed;
                balance += if &line.account == account { signed } else { 0 };
            }
            assert!(sums.values().all(|sum| *sum == 0), "{event:?}");
        }
        balance
    }

    fn suspense(&self) -> i128 {
        -self.balance(&Account::Suspense)
    }
}

#[test]
fn confirmed_money_is_booked_once_and_booked_back_when_it_is_orphaned() {
    let once = live([observe(confirmed(1)), observe(confirmed(1))]);
    assert_eq!((once.names(), once.suspense()), (vec![], 100));
    let gone = live([observe(confirmed(1)), observe(orphaned(2))]);
    assert_eq!((gone.names(), gone.suspense()), (vec!["UnmatchedDepositOrphaned"], 0));
    let back = live([observe(confirmed(1)), observe(orphaned(2)), observe(confirmed(3))]);
    assert_eq!((back.names(), back.suspense()), (vec!["UnmatchedDepositRecorded"], 100));
}

#[test]
fn an_overtaken_report_changes_nothing() {
    let late = live([observe(orphaned(2)), observe(confirmed(1))]);
    assert_eq!((late.names(), late.suspense()), (vec![], 0));
}

#[test]
fn refunded_money_is_out_of_the_books_with_its_fee() {
    let refunded = live([observe(confirmed(1)), refund("0xaa")]);
    assert_eq!((refunded.names(), refunded.suspense()), (vec!["UnmatchedDepositRefunded"], 0));
    assert_eq!(refunded.balance(&Account::Custody(chain())), -2);
    assert_eq!(refunded.balance(&Account::PlatformGas), 2);
    assert!(live([observe(confirmed(1)), refund("0xaa"), refund("0xaa")]).names().is_empty());
    let twice = live([observe(confirmed(1)), refund("0xaa"), refund("0xbb")]);
    assert_eq!(twice.refused(), &UnmatchedDepositError::Refunded("0xaa".to_owned()));
    let assigned = live([observe(confirmed(1)), refund("0xaa"), assign()]);
    assert_eq!(assigned.refused(), &UnmatchedDepositError::Refunded("0xaa".to_owned()));
}

#[test]
fn assigned_money_waits_in_suspense_for_its_payment_which_is_told_of_everything_after() {
    let assigned = live([observe(confirmed(1)), assign()]);
    assert_eq!((assigned.names(), assigned.suspense()), (vec!["UnmatchedDepositAssigned"], 100));
    assert!(live([observe(confirmed(1)), assign(), assign()]).names().is_empty());
    let untold = live([observe(confirmed(1)), assign(), observe(orphaned(2))]);
    assert_eq!(untold.refused(), &UnmatchedDepositError::Assigned(payment()));
    let told = live([observe(confirmed(1)), assign(), told(orphaned(2))]);
    assert_eq!((told.names(), told.suspense()), (vec!["UnmatchedDepositOrphaned"], 100), "the payment books it back");
    assert!(!told.deposit.state().unwrap().is_live);
    let refunded = live([observe(confirmed(1)), assign(), refund("0xaa")]);
    assert_eq!(refunded.refused(), &UnmatchedDepositError::Assigned(payment()));
}

#[test]
fn there_must_be_money_to_decide_about() {
    assert_eq!(live([assign()]).refused(), &UnmatchedDepositError::NotFound);
    for decision in [assign(), refund("0xaa")] {
        let gone = live([observe(confirmed(1)), observe(orphaned(2)), decision]);
        assert_eq!(gone.refused(), &UnmatchedDepositError::Orphaned);
    }
    let mut other = confirmed(2);
    other.deposit.leg = DepositLeg::Native;
    assert_eq!(live([observe(confirmed(1)), observe(other)]).refused(), &UnmatchedDepositError::OtherDeposit);
}

#[test]
fn the_id_follows_from_the_key() {
    let id = DepositId::of(&key());
    // As `left(encode(sha256(…), 'hex'), 32)::uuid` has it in SQL.
    assert_eq!(id.to_string(), "035b6ca1-642c-9f94-7670-43959539d2f0");
    assert_ne!(id, DepositId::of(&DepositKey { leg: DepositLeg::Native, ..key() }));
}

fn every_event() -> Vec<UnmatchedDepositEvent> {
    let first = live([observe(confirmed(1)), observe(orphaned(2)), observe(confirmed(3)), refund("0xaa")]);
    let second = live([observe(confirmed(1)), assign(), told(orphaned(2)), told(confirmed(3))]);
    [first.all, second.all].concat()
}

#[test]
fn events_are_written_as_ever() {
    let stored = |event| format!(r#"{{"event_version":"1.0","payload":{}}}"#, serde_json::to_string(event).unwrap());
    let written: Vec<String> = every_event().iter().map(stored).collect();
    assert_eq!(written.join("\n"), GOLDEN.trim_end(), "the shape of a stored event changed");
}

#[test]
fn what_is_written_is_read_and_took_effect_by_the_chain_s_clock() {
    for event in every_event() {
        let payload = serde_json::to_string(&event).unwrap();
        let read = decode(AGGREGATE_TYPE, event.name(), "1.0", 1, &payload).unwrap();
        let expected = event.block().map_or(event.at(), |block| block.time);
        assert_eq!(effective_at(&read), expected);
        assert_eq!(read, LedgerEvent::Deposit(event));
    }
}

fn any_report() -> impl Strategy<Value = DepositReport> {
    let stage = prop_oneof![Just(DepositStage::Confirmed { confirmations: 12 }), Just(DepositStage::Orphaned)];
    (1_u64..8, 1_u128..5, 0_u64..3, stage)
        .prop_map(|(revision, minor, block, stage)| report(revision, minor, block, stage))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// One report of each revision, as watchers give them out.
    #[test]
    fn any_order_and_repetition_ends_in_the_same_books(
        reports in prop::collection::vec(any_report(), 1..8), order in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let reports: Vec<DepositReport> =
            (1..).zip(reports).map(|(revision, report)| DepositReport { revision, ..report }).collect();
        let shuffled = order.iter().map(|index| index.get(&reports)).chain(reports.last()).cloned().map(observe);
        let (in_order, shuffled) = (live(reports.iter().cloned().map(observe)), live(shuffled));
        let last = reports.last().unwrap();
        let stands = if last.stage == DepositStage::Orphaned { 0 } else { i128::try_from(last.amount.minor()).unwrap() };
        prop_assert_eq!(in_order.suspense(), stands);
        prop_assert_eq!(shuffled.suspense(), stands);
        prop_assert_eq!(in_order.deposit.state().unwrap().revision, shuffled.deposit.state().unwrap().revision);
        prop_assert_eq!(in_order.balance(&Account::Custody(chain())), stands);
    }

    #[test]
    fn a_newer_report_leaves_a_trace_and_an_older_one_none(reports in prop::collection::vec(any_report(), 1..12)) {
        let mut deposit = UnmatchedDeposit::default();
        for report in reports {
            let newest = deposit.state().map_or(0, |state| state.revision);
            let events = decide(&deposit, observe(report.clone())).unwrap();
            prop_assert_eq!(events.is_empty(), report.revision <= newest);
            prop_assert!(events.iter().all(|event| event.revision() == report.revision));
            events.into_iter().for_each(|event| evolve(&mut deposit, event));
        }
    }
}
