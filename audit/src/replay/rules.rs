//! Which rule decided: one sentence for each event, from the event and the state before and after it.

use wopay_domain::access::AccessKeyEvent;
use wopay_domain::chains::ChainEvent;
use wopay_domain::deposit::UnmatchedDepositEvent;
use wopay_domain::merchant::MerchantEvent;
use wopay_domain::payment::{
    Disposition, HoldReason, LateDeposits, PaymentEvent, PaymentState, PaymentStatus, Standing,
};
use wopay_domain::{BlockRef, Money, Timestamp};

use super::books::Signed;

/// An amount as people read it: `100.50 USDT`; in minor units when its asset is not the payment's.
pub(crate) fn amount(state: Option<&PaymentState>, money: &Money) -> String {
    match state.map(|state| &state.terms.asset).filter(|asset| &asset.id == money.asset()) {
        Some(asset) => format!("{} {}", trimmed(&asset.format(money.minor())), asset.symbol),
        None => format!("{} minor units of {}", Signed { is_negative: false, minor: money.minor() }, money.asset()),
    }
}

/// `100.500000` as `100.5`, `100.000000` as `100`.
pub(crate) fn trimmed(decimal: &str) -> &str {
    if decimal.contains('.') { decimal.trim_end_matches('0').trim_end_matches('.') } else { decimal }
}

/// A moment to the second.
pub(crate) fn time(at: Timestamp) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The rule behind a payment's event. `state` is the payment after it.
pub(crate) fn of_payment(event: &PaymentEvent, before: Option<&PaymentState>, state: Option<&PaymentState>) -> String {
    match event {
        PaymentEvent::PaymentCreated(_) => state.map_or_else(String::new, policy),
        PaymentEvent::DepositDetected(it) => disposition(&it.disposition, &it.block, state),
        PaymentEvent::DepositReincluded(it) => {
            format!("It stands in this block now. {}", disposition(&it.disposition, &it.block, state))
        }
        PaymentEvent::DepositConfirmed(it) => {
            let own = state.filter(|state| state.terms.chain == it.deposit.chain);
            let required = own.map(|state| state.terms.policy.required_confirmations);
            let asks = required.map_or_else(
                || "the setting of that chain decided".to_owned(),
                |required| format!("the policy asks for {required}"),
            );
            let booked = match it.disposition {
                Disposition::Credit => "booked to the merchant",
                Disposition::Hold(_) => "booked to suspense",
            };
            format!("{} deep, {asks}: {booked}.", blocks(it.confirmations))
        }
        PaymentEvent::DepositOrphaned(it) => {
            let booked =
                if it.was_confirmed { "It had been booked and is booked back." } else { "It was not booked yet." };
            format!("Its block left the canonical chain. {booked}")
        }
        PaymentEvent::DepositAssigned(it) => {
            let before = match (it.from_payment_id, it.was_unmatched) {
                (Some(holder), _) => format!("Payment {holder} held it"),
                (None, true) => "It was no payment's".to_owned(),
                (None, false) => "It was held".to_owned(),
            };
            format!("{before}; an operator decided that it is this payment's: {:?}.", it.reason)
        }
        PaymentEvent::HeldDepositReassigned(it) => format!(
            "An operator decided that it is payment {}'s, which books it from now on: {:?}.",
            it.to_payment_id, it.reason
        ),
        PaymentEvent::ReassignedDepositReported(it) => {
            format!("Payment {} has it by decision, was told of this first, and books it.", it.to_payment_id)
        }
        PaymentEvent::HeldDepositRefunded(it) => format!(
            "An operator says that this transaction sent it back ({:?}); the ledger has not looked on the chain.",
            it.reason
        ),
        PaymentEvent::RefundRequested(it) => format!(
            "{} is set aside: confirmed and credited money that no other refund speaks for covers it.",
            amount(state, &it.amount)
        ),
        PaymentEvent::RefundCompleted(_) => {
            "Whoever completed it says that this transaction sent it; the ledger has not looked on the chain."
                .to_owned()
        }
        PaymentEvent::RefundCancelled(_) => "The money is the merchant's again.".to_owned(),
        event => event.standing().map_or_else(String::new, |standing| of_standing(event, standing, before, state)),
    }
}

fn blocks(confirmations: u32) -> String {
    if confirmations == 1 { "1 block".to_owned() } else { format!("{confirmations} blocks") }
}

/// The terms that a payment froze.
pub(crate) fn policy(state: &PaymentState) -> String {
    let policy = &state.terms.policy;
    let sufficient = Money::new(state.amount_sufficient(), state.terms.asset.id.clone());
    let enough = if sufficient == state.terms.amount {
        "nothing less than the whole amount is enough".to_owned()
    } else {
        let tolerance = rust_decimal_text(policy);
        format!("{} is enough (tolerance {tolerance} %)", amount(Some(state), &sufficient))
    };
    let late = match policy.late_deposits {
        LateDeposits::Accept => "money in later blocks counts and is flagged paid_late",
        LateDeposits::Hold => "money in later blocks is held",
    };
    let deep = match policy.required_confirmations {
        1 => "1 confirmation".to_owned(),
        more => format!("{more} confirmations"),
    };
    format!("Frozen for this payment: {deep}; {enough}; due by {}; {late}.", time(state.terms.expires_at))
}

fn rust_decimal_text(policy: &wopay_domain::payment::PaymentPolicy) -> String {
    serde_json::to_value(policy.underpayment_tolerance)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn disposition(disposition: &Disposition, block: &BlockRef, state: Option<&PaymentState>) -> String {
    let is_late = state.is_some_and(|state| state.is_late(block));
    match disposition {
        Disposition::Credit if is_late => {
            "Its block is later than the deadline; the policy accepts late money: it counts.".to_owned()
        }
        Disposition::Credit => "It is the asset asked for, in a block before the deadline: it counts.".to_owned(),
        Disposition::Hold(HoldReason::WrongAsset) => {
            "It is another asset, or on another chain, than was asked for: it is held.".to_owned()
        }
        Disposition::Hold(HoldReason::Late) => {
            "Its block is later than the deadline, and the policy holds late money.".to_owned()
        }
        Disposition::Hold(HoldReason::Cancelled) => "The payment had been cancelled: it is held.".to_owned(),
    }
}

fn of_standing(
    event: &PaymentEvent,
    standing: &Standing,
    before: Option<&PaymentState>,
    state: Option<&PaymentState>,
) -> String {
    let received = amount(state, &standing.amount_received);
    let confirmed = amount(state, &standing.amount_confirmed);
    let enough = state.map_or_else(String::new, |state| {
        let sufficient = Money::new(state.amount_sufficient(), state.terms.asset.id.clone());
        amount(Some(state), &sufficient)
    });
    let due = state.map_or_else(String::new, |state| time(state.terms.expires_at));
    match event {
        PaymentEvent::PaymentPartiallyPaid(_) => format!("{received} arrived; {enough} is needed."),
        PaymentEvent::PaymentConfirming(_) => {
            format!("{received} arrived and {enough} is enough; {confirmed} of it is confirmed so far.")
        }
        PaymentEvent::PaymentCompleted(_) => {
            format!("{confirmed} is confirmed and {enough} is enough{}.", because_of_flags(standing))
        }
        PaymentEvent::PaymentAdjusted(_) => format!(
            "Still completed, with {confirmed} confirmed{}{}.",
            refunded(standing, state),
            because_of_flags(standing)
        ),
        PaymentEvent::PaymentExpired(_) if before.is_some_and(|before| before.status == PaymentStatus::Expired) => {
            format!("Still expired: {received} arrived; {enough} is needed.")
        }
        PaymentEvent::PaymentExpired(_) => {
            format!("The deadline {due} passed with {received} arrived; {enough} was needed.")
        }
        PaymentEvent::PaymentCancelled(_) => "It was waiting for payment, so it could be cancelled.".to_owned(),
        PaymentEvent::PaymentHeld(_) => "Money came that the policy does not credit; somebody must decide.".to_owned(),
        PaymentEvent::PaymentReversed(_) => {
            format!(
                "It had been completed; only {confirmed} is confirmed and {received} arrived now, {enough} is needed."
            )
        }
        PaymentEvent::PaymentReopened(_) => "It lost its money before it was completed, and waits again.".to_owned(),
        PaymentEvent::PaymentRefunded(_) => {
            format!("All of the {confirmed} that was confirmed was sent back{}.", refunded(standing, state))
        }
        _ => String::new(),
    }
}

fn refunded(standing: &Standing, state: Option<&PaymentState>) -> String {
    let refunded = standing.amount_refunded.as_ref();
    refunded.map_or_else(String::new, |refunded| format!(" ({} refunded)", amount(state, refunded)))
}

fn because_of_flags(standing: &Standing) -> String {
    let flags = standing.flags.names();
    if flags.is_empty() { String::new() } else { format!(" ({})", flags.join(", ")) }
}

/// The rule behind a merchant's event.
pub(crate) fn of_merchant(event: &MerchantEvent) -> String {
    match event {
        MerchantEvent::MerchantRegistered(_) => "One merchant for each e-mail address.",
        MerchantEvent::ApiKeyIssued(_) => "The key works from now on; the ledger keeps its first characters only.",
        MerchantEvent::ApiKeyRevoked(_) => "The key is useless from now on, for ever.",
        MerchantEvent::WebhookConfigured(_) => "Webhooks go there from now on, signed with this secret.",
        MerchantEvent::MerchantSuspended(_) => "Its requests are refused; money that arrives is still recorded.",
        MerchantEvent::MerchantReinstated(_) => "Its requests are served again.",
        MerchantEvent::MerchantForgotten(_) => "Its keys are useless, and the key of its personal data is destroyed.",
    }
    .to_owned()
}

/// The rule behind an event of money that was no payment's.
pub(crate) fn of_deposit(event: &UnmatchedDepositEvent) -> String {
    match event {
        UnmatchedDepositEvent::UnmatchedDepositRecorded(it) => match it.assigned_to {
            None => "It is confirmed, and no payment claims its address: booked to suspense.".to_owned(),
            Some(payment) => format!("It was assigned to payment {payment}, which books it."),
        },
        UnmatchedDepositEvent::UnmatchedDepositOrphaned(it) => match it.assigned_to {
            None => "Its block left the canonical chain: it is booked back.".to_owned(),
            Some(payment) => format!("Its block left the canonical chain; payment {payment} books it back."),
        },
        UnmatchedDepositEvent::UnmatchedDepositAssigned(it) => {
            format!("An operator decided that it is payment {}'s: {:?}.", it.payment_id, it.reason)
        }
        UnmatchedDepositEvent::UnmatchedDepositRefunded(it) => format!(
            "An operator says that transaction {} sent it back ({:?}); the ledger has not looked on the chain.",
            it.transaction, it.reason
        ),
    }
}

/// The rule behind a chain's event.
pub(crate) fn of_chain(event: &ChainEvent) -> String {
    match event {
        ChainEvent::ChainAdded(it) => {
            let why = it.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason:?})"));
            format!("An operator decided{why}: the chain is accepted once a watcher follows it.")
        }
        ChainEvent::ChainPaused(it) => {
            format!("An operator decided ({:?}): no new payments; money on its way is watched as before.", it.reason)
        }
        ChainEvent::ChainResumed(_) => "The chain takes new payments again.".to_owned(),
        ChainEvent::TokenAdded(it) => {
            let least = it.min_deposit.as_ref().map(|least| it.token.format(least.minor()));
            let dust = least.map_or_else(String::new, |least| format!(" Less than {least} is dust."));
            format!("{} ({}) is accepted once the chain's watcher looks for it.{dust}", it.token.symbol, it.token.id)
        }
        ChainEvent::TokenPaused(it) => format!(
            "An operator decided ({:?}): no new payments in {}; money on its way is watched as before.",
            it.reason, it.asset
        ),
        ChainEvent::TokenResumed(it) => format!("There are new payments in {} again.", it.asset),
    }
}

/// The rule behind an access key's event.
pub(crate) fn of_access(event: &AccessKeyEvent) -> String {
    match event {
        AccessKeyEvent::AccessKeyIssued(_) => "The key reads what its role may, from now on.",
        AccessKeyEvent::AccessKeyRevoked(_) => "The key is useless from now on, for ever.",
    }
    .to_owned()
}
