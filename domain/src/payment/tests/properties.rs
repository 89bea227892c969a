//! What must hold for every history: the end depends on the chain, not on the order, number or timing of reports.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::fixture::{
    DEADLINE, Scenario, at, cancel_refund, complete_refund, deposit, opened, other_payment, request_refund, told,
};
use crate::envelope::LedgerEvent;
use crate::ledger::{Account, Layer, Side, postings};
use crate::money::Percentage;
use crate::payment::{
    DepositReport, DepositStage, DepositState, Disposition, LateDeposits, Payment, PaymentCommand, PaymentEvent,
    PaymentStatus, decide, evolve,
};

/// What the chain does with one deposit, step by step. The watcher reports each step with the next revision.
#[derive(Clone, Copy, Debug)]
enum Step {
    Include { block: u64, late: bool },
    Confirm,
    Orphan,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u64..4, prop::bool::weighted(0.3)).prop_map(|(block, late)| Step::Include { block, late }),
        2 => Just(Step::Confirm),
        2 => Just(Step::Orphan),
    ];
    prop::collection::vec(step, 1..7)
}

/// The reports that a watcher makes of a deposit's history, with the stage it ends in.
fn reports(number: u32, amount: u128, steps: &[Step], revision: &mut u64) -> Vec<DepositReport> {
    let mut reports = Vec::new();
    let mut standing: Option<(DepositReport, bool)> = None;
    for step in steps {
        let next = match (*step, &standing) {
            (Step::Include { block, late }, None) => {
                // A block's hash says its time too.
                let (block, time) = if late { (block + 5000, DEADLINE + 1) } else { (block, 10) };
                let report = deposit(number, amount).in_block(block, time).0;
                standing = Some((report.clone(), false));
                report
            }
            (Step::Confirm, Some((report, false))) => {
                let confirmed =
                    DepositReport { stage: DepositStage::Confirmed { confirmations: 12 }, ..report.clone() };
                standing = Some((report.clone(), true));
                confirmed
            }
            (Step::Orphan, Some((report, _))) => {
                let orphaned = DepositReport { stage: DepositStage::Orphaned, ..report.clone() };
                standing = None;
                orphaned
            }
            _ => continue,
        };
        *revision += 1;
        reports.push(DepositReport { revision: *revision, ..next });
    }
    reports
}

pub(super) fn world() -> impl Strategy<Value = (Vec<DepositReport>, Vec<DepositReport>, bool, u32)> {
    let deposits = prop::collection::vec((1_u128..120, steps()), 1..5);
    (deposits, any::<bool>(), 0_u32..20).prop_flat_map(|(deposits, hold, tolerance)| {
        let mut revision = 0;
        let in_order: Vec<_> = deposits
            .iter()
            .zip(1_u32..)
            .flat_map(|((amount, steps), number)| reports(number, *amount, steps, &mut revision))
            .collect();
        let doubled: Vec<_> = in_order.iter().chain(&in_order).cloned().collect();
        (Just(in_order), Just(doubled).prop_shuffle(), Just(hold), Just(tolerance))
    })
}

pub(super) fn payment(hold: bool, tolerance: u32) -> Scenario {
    opened(|request| {
        request.terms.policy.late_deposits = if hold { LateDeposits::Hold } else { LateDeposits::Accept };
        request.terms.policy.underpayment_tolerance =
            Percentage::try_from(rust_decimal::Decimal::from(tolerance)).unwrap();
    })
}

pub(super) fn play(
    scenario: Scenario,
    reports: Vec<DepositReport>,
    expire_after: usize,
) -> (Payment, Vec<PaymentEvent>) {
    let mut payment = scenario.payment;
    let mut history = Vec::new();
    let mut apply = |payment: &mut Payment, command| {
        for event in decide(payment, command).unwrap() {
            evolve(payment, event.clone());
            history.push(event);
        }
    };
    for (index, report) in reports.into_iter().enumerate() {
        if index == expire_after {
            apply(&mut payment, PaymentCommand::Expire { at: at(DEADLINE) });
        }
        apply(&mut payment, PaymentCommand::ObserveDeposit(Box::new(report)));
    }
    apply(&mut payment, PaymentCommand::Expire { at: at(DEADLINE) });
    (payment, history)
}

/// The deposits of a payment as the chain has them: what history they had does not matter.
fn canonical(payment: &Payment) -> BTreeMap<String, (u128, DepositState, Disposition, Option<String>)> {
    let deposits = &payment.state().unwrap().deposits;
    deposits
        .iter()
        .map(|(key, deposit)| {
            let block = deposit.is_live().then(|| deposit.block.hash.clone());
            let disposition = if deposit.is_live() { deposit.disposition } else { Disposition::Credit };
            (key.to_string(), (deposit.amount.minor(), deposit.state, disposition, block))
        })
        .collect()
}

/// Completed once and then short of money is `reversed`; whether it ever was completed is history and may differ.
fn settled_status(payment: &Payment) -> PaymentStatus {
    let state = payment.state().unwrap();
    match state.status {
        PaymentStatus::Reversed | PaymentStatus::Held => PaymentStatus::Expired,
        status => status,
    }
}

/// Posted balances; the pending layer has its own tests.
fn balances(history: &[PaymentEvent]) -> BTreeMap<(Account, String), i128> {
    let mut balances = BTreeMap::new();
    for event in history {
        for posting in postings(&LedgerEvent::Payment(event.clone())) {
            if posting.layer == Layer::Pending {
                continue;
            }
            let amount = i128::try_from(posting.amount.minor()).unwrap();
            let signed = if posting.side == Side::Debit { amount } else { -amount };
            *balances.entry((posting.account, posting.amount.asset().to_string())).or_insert(0) += signed;
        }
    }
    balances.retain(|_, balance| *balance != 0);
    balances
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_order_and_repetition_ends_as_the_chain_has_it(
        (in_order, shuffled, hold, tolerance) in world(), expire_after in 0_usize..12,
    ) {
        let (expected, expected_history) = play(payment(hold, tolerance), in_order, usize::MAX);
        let (actual, history) = play(payment(hold, tolerance), shuffled, expire_after);
        prop_assert_eq!(canonical(&actual), canonical(&expected));
        prop_assert_eq!(settled_status(&actual), settled_status(&expected));
        let completed = expected.state().unwrap().status == PaymentStatus::Completed;
        if completed {
            prop_assert_eq!(actual.state().unwrap().flags, expected.state().unwrap().flags);
        }
        prop_assert_eq!(balances(&history), balances(&expected_history));
    }

    #[test]
    fn books_hold_exactly_the_confirmed_deposits((_, shuffled, hold, tolerance) in world()) {
        let (payment, history) = play(payment(hold, tolerance), shuffled, 3);
        let state = payment.state().unwrap();
        let confirmed = |wanted: bool| -> i128 {
            let credited = |d: &&crate::payment::Deposit| (d.disposition == Disposition::Credit) == wanted;
            let deposits = state.deposits.values().filter(|d| d.state == DepositState::Confirmed).filter(credited);
            deposits.map(|d| i128::try_from(d.amount.minor()).unwrap()).sum()
        };
        let books = balances(&history);
        let balance = |account: Account| -> i128 {
            books.iter().filter(|((name, _), _)| *name == account).map(|(_, balance)| *balance).sum()
        };
        prop_assert_eq!(balance(Account::MerchantPayable(state.merchant_id)), -confirmed(true));
        prop_assert_eq!(balance(Account::Suspense), -confirmed(false));
        prop_assert_eq!(balance(Account::Custody(state.terms.chain.clone())), confirmed(true) + confirmed(false));
        prop_assert_eq!(state.totals().unwrap().confirmed.minor(), confirmed(true).unsigned_abs());
    }

    #[test]
    fn replay_gives_the_same_state((_, shuffled, hold, tolerance) in world()) {
        let opened = payment(hold, tolerance);
        let (payment, history) = play(opened.clone(), shuffled, 2);
        let mut replayed = opened.payment;
        for event in history {
            let text = serde_json::to_string(&event).unwrap();
            evolve(&mut replayed, serde_json::from_str(&text).unwrap());
        }
        prop_assert_eq!(replayed, payment);
    }

    #[test]
    fn no_sequence_of_commands_panics(commands in prop::collection::vec(any_command(), 0..20)) {
        let mut payment = Payment::default();
        for command in commands {
            if let Ok(events) = decide(&payment, command) {
                events.into_iter().for_each(|event| evolve(&mut payment, event));
            }
        }
    }
}

fn any_command() -> impl Strategy<Value = PaymentCommand> {
    command_with_amount(prop_oneof![Just(0_u128), 1_u128..200, Just(u128::MAX)])
}

/// Any command; deposits have one of these amounts.
pub(super) fn command_with_amount(
    amount: impl Strategy<Value = u128> + 'static,
) -> impl Strategy<Value = PaymentCommand> {
    let stage = prop_oneof![
        any::<u32>().prop_map(|confirmations| DepositStage::Seen { confirmations }),
        any::<u32>().prop_map(|confirmations| DepositStage::Confirmed { confirmations }),
        Just(DepositStage::Orphaned),
    ];
    let report = (0_u32..5, amount, 0_u64..6, 0_u64..3, any::<bool>(), stage).prop_map(
        |(number, amount, revision, block, late, stage)| {
            let time = if late { DEADLINE + 1 } else { 10 };
            let report = deposit(number, amount).revision(revision).in_block(block, time).0;
            PaymentCommand::ObserveDeposit(Box::new(DepositReport { stage, ..report }))
        },
    );
    prop_oneof![
        4 => (report, prop::bool::weighted(0.2)).prop_map(|(report, is_told)| match is_told {
            true => told(report, other_payment()),
            false => report,
        }),
        1 => Just(PaymentCommand::Create(Box::new(super::fixture::create()))),
        1 => (0_i64..8000).prop_map(|second| PaymentCommand::Expire { at: at(second) }),
        1 => (0_i64..8000).prop_map(|second| PaymentCommand::Cancel { at: at(second) }),
        2 => (0_u8..4, 0_u128..200).prop_map(|(number, amount)| request_refund(number, amount)),
        1 => (0_u8..4).prop_map(complete_refund),
        1 => (0_u8..4).prop_map(cancel_refund),
        1 => (0_u32..3).prop_map(|number| deposit(number, 1).assign()),
        1 => (0_u32..3).prop_map(|number| deposit(number, 1).sent_back()),
        1 => (0_u32..3).prop_map(|number| deposit(number, 1).reassign(other_payment())),
        1 => (3_u32..5, 1_u128..200, 0_u64..6).prop_map(|(number, amount, revision)| {
            deposit(number, amount).revision(revision).assign_unmatched()
        }),
    ]
}
