//! The sentences.

use std::fmt::Write as _;

use wopay_domain::ledger::{Account, Layer};
use wopay_domain::payment::{
    DepositDecision, DepositState, Disposition, PaymentEvent, PaymentState, PaymentStatus, RefundState,
};

use super::Given;
use crate::replay::rules::{amount, policy, time, trimmed};
use crate::replay::{BookedLine, Books, Cause, History, Step};

/// Blank space before a sentence that belongs to the one above.
const INDENT: &str = "     ";

/// All that is to be said of a payment.
pub(super) fn tell(
    state: &PaymentState,
    history: &History,
    events: &[PaymentEvent],
    given: &[Given],
    books: &Books,
) -> String {
    let mut text = String::new();
    asked(&mut text, state, history);
    happened(&mut text, state, history, events);
    given.iter().for_each(|given| came_from_elsewhere(&mut text, state, given));
    stands(&mut text, state, history);
    booked(&mut text, state, books);
    text
}

/// Writing to a `String` cannot fail.
macro_rules! say {
    ($text:expr, $($arguments:tt)*) => {{
        let _ = writeln!($text, $($arguments)*);
    }};
}

fn asked(text: &mut String, state: &PaymentState, history: &History) {
    let terms = &state.terms;
    say!(text, "Payment {}", state.id);
    say!(text, "Merchant {}, order {:?}\n", state.merchant_id, state.order_id);
    say!(text, "What was asked");
    say!(
        text,
        "  {} on {}, to be paid to {} until {}.",
        amount(Some(state), &terms.amount),
        terms.chain,
        terms.address,
        time(terms.expires_at)
    );
    match terms.asset.id.contract() {
        Some(contract) => say!(text, "  {} is the token with contract {contract}.", terms.asset.symbol),
        None => say!(text, "  {} is the chain's own coin.", terms.asset.symbol),
    }
    if let Some(first) = history.steps.first() {
        say!(text, "  Asked for on {} by {}.", time(first.effective_at), who(&first.cause));
        say!(text, "  Recorded at position {} on {}.", first.position, time(first.recorded_at));
    }
    say!(text, "  {}", policy(state));
    if let Some(url) = &terms.callback_url {
        say!(text, "  Changes are announced to {url} too.");
    }
}

/// Who, and by which request or command.
fn who(cause: &Cause) -> String {
    let mut who = cause.actor_in_words();
    if let Some(request) = &cause.request_id {
        let _ = write!(who, ", in request {request}");
    }
    who
}

fn happened(text: &mut String, state: &PaymentState, history: &History, events: &[PaymentEvent]) {
    say!(text, "\nWhat happened");
    let after_creation = history.steps.iter().zip(events).skip(1);
    let mut number = 0_u32;
    for (step, event) in after_creation {
        number = number.saturating_add(1);
        say!(text, "{number:>3}. {}  {}", time(step.recorded_at), what(state, event));
        because(text, state, step);
    }
    if number == 0 {
        say!(text, "  Nothing yet.");
    }
}

/// Why, who, and what was booked.
fn because(text: &mut String, state: &PaymentState, step: &Step) {
    if !step.rule.is_empty() {
        say!(text, "{INDENT}Why: {}", step.rule);
    }
    say!(text, "{INDENT}By {} (position {}{}).", who(&step.cause), step.position, report(step));
    for line in in_pairs(state, &step.booked) {
        say!(text, "{INDENT}{line}");
    }
}

/// Where assigned money had come to, and what became of it before and after it was assigned.
fn came_from_elsewhere(text: &mut String, state: &PaymentState, given: &Given) {
    let from = given.from.as_ref().map_or_else(String::new, |from| format!(" from {from}"));
    say!(text, "\nMoney that an operator gave to this payment");
    say!(
        text,
        "  {}{from}, transaction {}, came to {}, which {}.",
        amount(Some(state), &given.amount),
        given.deposit.transaction,
        given.address,
        given.holder.map_or_else(|| "no payment claimed".to_owned(), |holder| format!("is payment {holder}'s"))
    );
    for (step, number) in given.history.steps.iter().zip(1_u32..) {
        say!(text, "{number:>3}. {}  {}", time(step.recorded_at), of_deposit(&step.event_type));
        because(text, state, step);
    }
}

fn of_deposit(event_type: &str) -> &'static str {
    match event_type {
        "UnmatchedDepositRecorded" => "It was recorded as confirmed.",
        "UnmatchedDepositOrphaned" => "Its block left the chain.",
        "DepositDetected" => "It was seen.",
        "DepositReincluded" => "It stands in another block.",
        "DepositConfirmed" => "It was confirmed.",
        "DepositOrphaned" => "Its block left the chain.",
        "UnmatchedDepositAssigned" | "HeldDepositReassigned" => "It was assigned to this payment.",
        "ReassignedDepositReported" => "Its holder noted what this payment was told.",
        "UnmatchedDepositRefunded" => "It was recorded as sent back.",
        _ => "It changed.",
    }
}

/// The watcher's revision of a deposit's report.
fn report(step: &Step) -> String {
    step.cause.revision.map_or_else(String::new, |revision| format!(", report {revision}"))
}

fn what(state: &PaymentState, event: &PaymentEvent) -> String {
    let amount = |money| amount(Some(state), money);
    match event {
        PaymentEvent::PaymentCreated(_) => "The payment was created.".to_owned(),
        PaymentEvent::DepositDetected(it) => {
            let from = it.from.as_ref().map_or_else(String::new, |from| format!(" from {from}"));
            format!(
                "A deposit of {}{from} was seen in block {} of {} ({}, mined {}), transaction {}.",
                amount(&it.amount),
                it.block.number,
                it.deposit.chain,
                it.block.hash,
                time(it.block.time),
                it.deposit.transaction
            )
        }
        PaymentEvent::DepositReincluded(it) => format!(
            "The deposit of transaction {} stands in block {} ({}) now, with {}.",
            it.deposit.transaction,
            it.block.number,
            it.block.hash,
            amount(&it.amount)
        ),
        PaymentEvent::DepositConfirmed(it) => format!(
            "The deposit of {} in block {} was confirmed, transaction {}.",
            amount(&it.amount),
            it.block.number,
            it.deposit.transaction
        ),
        PaymentEvent::DepositOrphaned(it) => format!(
            "The deposit of {} in block {} ({}) is no longer in the chain, transaction {}.",
            amount(&it.amount),
            it.block.number,
            it.block.hash,
            it.deposit.transaction
        ),
        PaymentEvent::DepositAssigned(it) => format!(
            "The deposit of {} in block {} of {}, transaction {}, was assigned to this payment: it counts from now on.",
            amount(&it.amount),
            it.block.number,
            it.deposit.chain,
            it.deposit.transaction
        ),
        PaymentEvent::HeldDepositReassigned(it) => format!(
            "The held deposit of {}, transaction {}, was assigned to payment {}.",
            amount(&it.amount),
            it.deposit.transaction,
            it.to_payment_id
        ),
        PaymentEvent::ReassignedDepositReported(it) => format!(
            "The deposit of {}, transaction {}, which payment {} has, {} block {} ({}).",
            amount(&it.amount),
            it.deposit.transaction,
            it.to_payment_id,
            match it.state {
                DepositState::Seen => "stands in",
                DepositState::Confirmed => "is confirmed in",
                DepositState::Orphaned => "left the chain with",
            },
            it.block.number,
            it.block.hash
        ),
        PaymentEvent::HeldDepositRefunded(it) => {
            format!(
                "The held deposit of {} was recorded as sent back, transaction {}.",
                amount(&it.amount),
                it.transaction
            )
        }
        PaymentEvent::RefundRequested(it) => {
            format!("A refund of {} to {} was asked for: {:?}.", amount(&it.amount), it.to, it.reason)
        }
        PaymentEvent::RefundCompleted(it) => {
            format!("The refund of {} was recorded as sent, transaction {}.", amount(&it.amount), it.transaction)
        }
        PaymentEvent::RefundCancelled(it) => {
            format!("The refund of {} was given up: {:?}.", amount(&it.amount), it.reason)
        }
        event => event.standing().map_or_else(String::new, |standing| {
            format!("The payment became {}.", words(standing.status, &standing.flags.names()))
        }),
    }
}

fn words(status: PaymentStatus, flags: &[&str]) -> String {
    let status = status.as_str();
    if flags.is_empty() { status.to_owned() } else { format!("{status} ({})", flags.join(", ")) }
}

/// `Posted: 100 USDT from merchant:… to custody:…`, for lines that come as debit and credit.
fn in_pairs(state: &PaymentState, lines: &[BookedLine]) -> Vec<String> {
    let asset = &state.terms.asset;
    let shown = |line: &BookedLine| match line.amount_minor.parse() {
        Ok(minor) if line.asset == asset.id => format!("{} {}", trimmed(&asset.format(minor)), asset.symbol),
        _ => format!("{} minor units of {}", line.amount_minor, line.asset),
    };
    lines
        .chunks(2)
        .map(|pair| match pair {
            [debit, credit] if debit.layer == credit.layer && debit.side == "debit" && credit.side == "credit" => {
                let layer = if debit.layer == "posted" { "Posted" } else { "Pending" };
                format!("{layer}: {}, debit {}, credit {}.", shown(debit), debit.account, credit.account)
            }
            lines => lines
                .iter()
                .map(|line| format!("{}: {}, {} {}.", line.layer, shown(line), line.side, line.account))
                .collect::<Vec<_>>()
                .join(" "),
        })
        .collect()
}

fn stands(text: &mut String, state: &PaymentState, history: &History) {
    say!(text, "\nWhere it stands (as of position {})", history.as_of_position);
    say!(text, "  {}.", capitalized(&words(state.status, &state.flags.names())));
    if let Ok(totals) = state.totals() {
        say!(
            text,
            "  {} of {} arrived and counts, {} of it confirmed.",
            amount(Some(state), &totals.received),
            amount(Some(state), &state.terms.amount),
            amount(Some(state), &totals.confirmed)
        );
        if !totals.refunded.is_zero() || !totals.refunds_requested.is_zero() {
            say!(
                text,
                "  {} was sent back, {} is set aside to be.",
                amount(Some(state), &totals.refunded),
                amount(Some(state), &totals.refunds_requested)
            );
        }
    }
    for (key, deposit) in &state.deposits {
        let counts = match (deposit.disposition, &deposit.decision) {
            (Disposition::Credit, Some(_)) => "counts, as an operator decided".to_owned(),
            (Disposition::Credit, None) => "counts".to_owned(),
            (Disposition::Hold(_), Some(DepositDecision::Refunded { transaction })) => {
                format!("recorded as sent back, transaction {transaction}")
            }
            (Disposition::Hold(_), Some(DepositDecision::Reassigned { payment_id, .. })) => {
                format!("assigned to payment {payment_id}")
            }
            (Disposition::Hold(reason), _) => format!("held: {}", reason.as_str()),
        };
        let state_of = match deposit.state {
            DepositState::Seen => "seen, not confirmed yet",
            DepositState::Confirmed => "confirmed",
            DepositState::Orphaned => "no longer in the chain",
        };
        let shown = amount(Some(state), &deposit.amount);
        say!(text, "  Deposit {key}: {shown}, {state_of}, {counts}.");
    }
    for (id, refund) in &state.refunds {
        let state_of = match &refund.state {
            RefundState::Requested => "asked for, not sent yet".to_owned(),
            RefundState::Completed { transaction, .. } => format!("recorded as sent, transaction {transaction}"),
            RefundState::Cancelled { reason, .. } => format!("given up: {reason:?}"),
        };
        say!(text, "  Refund {id}: {} to {}, {state_of}.", amount(Some(state), &refund.amount), refund.to);
    }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn booked(text: &mut String, state: &PaymentState, books: &Books) {
    say!(text, "\nWhat is in the books because of it");
    let lines = books.lines();
    if lines.is_empty() {
        say!(text, "  Nothing: no money moved.");
    }
    for (account, asset, balance) in lines {
        let shown = |layer| {
            let signed = balance.of(account, layer);
            let sign = if signed.is_negative { "-" } else { "" };
            let minor = wopay_domain::Money::new(signed.minor, asset.clone());
            format!("{sign}{}", amount(Some(state), &minor))
        };
        say!(
            text,
            "  {account} ({}): {} posted, {} pending.",
            meaning(account),
            shown(Layer::Posted),
            shown(Layer::Pending)
        );
    }
    for (key, deposit) in &state.deposits {
        if let Some(DepositDecision::Reassigned { payment_id, .. }) = &deposit.decision {
            say!(
                text,
                "  What is in suspense of deposit {key} was given to payment {payment_id}, which is explained by itself."
            );
        }
    }
}

const fn meaning(account: &Account) -> &'static str {
    match account {
        Account::Custody(_) => "what our addresses hold",
        Account::MerchantPayable(_) => "owed to the merchant",
        Account::MerchantPayout(_) => "on its way to the merchant",
        Account::Suspense => "held until somebody decides",
        Account::PlatformFees => "earned by the platform",
        Account::PlatformGas => "taken by the network",
    }
}
