//! What `wopay refund` prints.

use chrono::SecondsFormat;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::{Value, json};
use wopay_domain::payment::{PaymentState, Refund, RefundState};
use wopay_domain::{Money, RefundId, Timestamp};

/// One refund, with what is to be done next.
pub(super) fn refund(payment: &PaymentState, id: RefundId, refund: &Refund) -> String {
    let amount = amount(payment, &refund.amount);
    let chain = &payment.terms.chain;
    let to = wopay_api::display_address(&refund.to);
    let about = format!(
        "Refund          {id}\nPayment         {}\nAmount          {amount}\nTo              {to}\nStatus          {}",
        payment.id,
        refund.state.as_str(),
    );
    let next = match &refund.state {
        RefundState::Requested => format!(
            "The money is set aside and not sent: WoPay does not send refunds.\nSend {amount} on {chain} to {to} with the \
             wallet of your choice,\nthen record the transaction (as you state it, it is not checked on the chain):\n\n  \
             wopay refund complete {} {id} --transaction HASH",
            payment.id,
        ),
        RefundState::Completed { transaction, .. } => format!(
            "Recorded as sent by {transaction}. It was not checked on the chain.\nThe payment is {}.",
            standing(payment),
        ),
        RefundState::Cancelled { .. } => format!("Nothing was sent. The payment is {}.", standing(payment)),
    };
    format!("{about}\n\n{next}")
}

/// One refund as JSON. `verified` is false as long as nobody compares the transaction with the chain.
pub(super) fn refund_json(payment: &PaymentState, id: RefundId, refund: &Refund) -> Value {
    let asset = &payment.terms.asset;
    let (mut transaction, mut fee, mut completed_at) = (None, None, None);
    let (mut cancel_reason, mut cancelled_at) = (None, None);
    match &refund.state {
        RefundState::Requested => {}
        RefundState::Completed { transaction: hash, network_fee, at } => {
            transaction = Some(hash);
            fee = network_fee.as_ref().map(|fee| fee.minor().to_string());
            completed_at = Some(at);
        }
        RefundState::Cancelled { reason, at } => (cancel_reason, cancelled_at) = (Some(reason), Some(at)),
    }
    json!({
        "payment_id": payment.id,
        "refund_id": id,
        "status": refund.state.as_str(),
        "amount": asset.format(refund.amount.minor()),
        "currency": asset.symbol,
        "blockchain": payment.terms.chain,
        "to": refund.to,
        "reason": refund.reason,
        "requested_at": refund.requested_at,
        "transaction_hash": transaction,
        "network_fee_minor": fee,
        "verified": false,
        "completed_at": completed_at,
        "cancel_reason": cancel_reason,
        "cancelled_at": cancelled_at,
        "payment_status": payment.status.as_str(),
        "payment_flags": payment.flags.names(),
    })
}

/// The refunds of a payment, oldest first, and what can still be refunded.
pub(super) fn list(payment: &PaymentState, refundable: &Money) -> String {
    let rest = format!("{} can be refunded. The payment is {}.", amount(payment, refundable), standing(payment));
    if payment.refunds.is_empty() {
        return format!("There are no refunds. {rest}");
    }
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(["REFUND", "STATUS", "AMOUNT", "TO", "REQUESTED", "TRANSACTION"]);
    for (id, refund) in in_order(payment) {
        let transaction = match &refund.state {
            RefundState::Completed { transaction, .. } => transaction.as_str(),
            RefundState::Requested | RefundState::Cancelled { .. } => "-",
        };
        table.add_row([
            &id.to_string(),
            refund.state.as_str(),
            &amount(payment, &refund.amount),
            &wopay_api::display_address(&refund.to),
            &time(refund.requested_at),
            transaction,
        ]);
    }
    format!("{}\n\n{rest} Transactions are as stated, not checked on the chain.", table.trim_fmt())
}

/// The same as JSON.
pub(super) fn list_json(payment: &PaymentState, refundable: &Money) -> String {
    let refunds: Vec<Value> =
        in_order(payment).into_iter().map(|(id, refund)| refund_json(payment, id, refund)).collect();
    let asset = &payment.terms.asset;
    json!({
        "payment_id": payment.id,
        "payment_status": payment.status.as_str(),
        "payment_flags": payment.flags.names(),
        "refundable": asset.format(refundable.minor()),
        "currency": asset.symbol,
        "refunds": refunds,
    })
    .to_string()
}

fn in_order(payment: &PaymentState) -> Vec<(RefundId, &Refund)> {
    let mut refunds: Vec<_> = payment.refunds.iter().map(|(id, refund)| (*id, refund)).collect();
    refunds.sort_by_key(|(id, refund)| (refund.requested_at, *id));
    refunds
}

fn amount(payment: &PaymentState, amount: &Money) -> String {
    let asset = &payment.terms.asset;
    format!("{} {}", asset.format(amount.minor()), asset.symbol)
}

/// `completed`, or `completed (overpaid, partially_refunded)`.
fn standing(payment: &PaymentState) -> String {
    let flags = payment.flags.names();
    let status = payment.status.as_str();
    if flags.is_empty() { status.to_owned() } else { format!("{status} ({})", flags.join(", ")) }
}

fn time(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
