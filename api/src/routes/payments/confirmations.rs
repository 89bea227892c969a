//! How confirmed deposits and payments are, computed from the heads of the chains when somebody asks. The running count
//! is no event: a block every half second would be one for each open payment.

use std::collections::BTreeMap;

use wopay_domain::ChainName;
use wopay_domain::payment::{Deposit, DepositState, Disposition, PaymentState, PaymentStatus};

/// Heights that the watchers have processed; a chain whose watcher has seen nothing yet is missing.
pub(crate) type Heights = BTreeMap<ChainName, u64>;

/// Blocks from the deposit's to the head, both counted; 0 for an orphaned deposit.
///
/// The head may be a little older than the deposit's last event. What was recorded is a lower bound: a deposit in a
/// block has 1, a confirmed one what its payment asks for.
pub(crate) fn of_deposit(payment: &PaymentState, chain: &ChainName, deposit: &Deposit, heights: &Heights) -> u32 {
    let at_least = match deposit.state {
        DepositState::Orphaned => return 0,
        DepositState::Seen => 1,
        DepositState::Confirmed => payment.terms.policy.required_confirmations,
    };
    let height = heights.get(chain).copied().unwrap_or(0);
    let depth = height.saturating_sub(deposit.block.number).saturating_add(1);
    let counted = if height < deposit.block.number { 0 } else { u32::try_from(depth).unwrap_or(u32::MAX) };
    counted.max(at_least)
}

/// The confirmations of the payment: those of its least confirmed deposit that counts, of a completed or refunded payment
/// among the confirmed ones; 0 without deposits.
///
/// So the number reaches `required_confirmations` when the payment completes, and a tip that comes after that does not
/// set it back as long as it is not confirmed. Lists define it the same way.
pub(crate) fn of_payment(payment: &PaymentState, heights: &Heights) -> u32 {
    let completed = matches!(payment.status, PaymentStatus::Completed | PaymentStatus::Refunded);
    let counts = |deposit: &Deposit| match deposit.state {
        DepositState::Confirmed => true,
        DepositState::Seen => !completed,
        DepositState::Orphaned => false,
    };
    let counted = payment
        .deposits
        .iter()
        .filter(|(_, deposit)| deposit.disposition == Disposition::Credit && counts(deposit))
        .map(|(key, deposit)| of_deposit(payment, &key.chain, deposit, heights));
    counted.min().unwrap_or(0)
}
