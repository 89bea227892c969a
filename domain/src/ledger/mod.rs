//! Double entry: what an event means for the books. A pure function of one event: nothing is looked up, so the books can
//! be rebuilt from any part of the log, in any language.
//!
//! Two layers. **Posted** is what happened. **Pending** is what is expected to: a deposit that was seen and not confirmed,
//! a refund that was promised and not sent. A pending entry is made by one event and released by a later one, with the
//! same amounts on the other side. Per asset and layer, the postings of every event balance: debits equal credits.
//!
//! | event | pending | posted |
//! |---|---|---|
//! | deposit seen, or seen again | debit custody, credit payable or suspense | |
//! | deposit confirmed | released | debit custody, credit payable or suspense |
//! | deposit orphaned before that | released | |
//! | deposit orphaned after that | | the reverse |
//! | unmatched deposit recorded | | debit custody, credit suspense |
//! | unmatched deposit orphaned | | the reverse |
//! | held or unmatched deposit assigned to a payment, by that payment's event | | debit suspense, credit payable |
//! | held or unmatched deposit sent back | | debit suspense, credit custody; the network's fee: debit gas, credit custody |
//! | refund requested | debit payable, credit custody | |
//! | refund completed | released | debit payable, credit custody; the network's fee: debit gas, credit custody |
//! | refund cancelled | released | |

mod account;
#[cfg(test)]
mod tests;

use crate::Timestamp;
use crate::chain::ChainName;
use crate::deposit::UnmatchedDepositEvent;
use crate::envelope::LedgerEvent;
use crate::ids::MerchantId;
use crate::merchant::MerchantEvent;
use crate::money::Money;
use crate::payment::{Disposition, PaymentEvent};

pub use account::{Account, AccountError};

/// How certain an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// Expected; released when it happens or can no longer.
    Pending,
    /// It happened.
    Posted,
}

impl Layer {
    /// `pending` or `posted`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Posted => "posted",
        }
    }

    /// The layer of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Pending, Self::Posted].into_iter().find(|layer| layer.as_str() == name)
    }
}

/// The side of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Debit: what an asset account gains, a liability account loses.
    Debit,
    /// Credit: the reverse.
    Credit,
}

impl Side {
    /// `debit` or `credit`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debit => "debit",
            Self::Credit => "credit",
        }
    }

    /// The side of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Debit, Self::Credit].into_iter().find(|side| side.as_str() == name)
    }
}

/// One line of a journal entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// The account.
    pub account: Account,
    /// Whether it happened or is expected to.
    pub layer: Layer,
    /// The side.
    pub side: Side,
    /// The amount, never negative.
    pub amount: Money,
}

/// The journal entry that an event makes; empty when no money moved. Lines come in a fixed order: what is released first,
/// then what is posted; of each pair the debit first.
#[must_use]
pub fn postings(event: &LedgerEvent) -> Vec<Posting> {
    match event {
        LedgerEvent::Payment(event) => payment_postings(event),
        LedgerEvent::Deposit(event) => unmatched_postings(event),
        LedgerEvent::Merchant(_) | LedgerEvent::Access(_) | LedgerEvent::Chain(_) => Vec::new(),
    }
}

/// When what an event says took effect, by the clock of the world it speaks of: the block's time for deposits (also for
/// one that was orphaned: it never had an effect), the command's time for the rest. What the chain does with money that an
/// operator assigned has no effect before the assignment: until then the money was not the payment's. When it was
/// recorded is another matter; see [`crate::RecordedEvent::recorded_at`].
#[must_use]
pub fn effective_at(event: &LedgerEvent) -> Timestamp {
    match event {
        LedgerEvent::Payment(event) => payment_effective_at(event),
        LedgerEvent::Merchant(event) => merchant_effective_at(event),
        LedgerEvent::Access(event) => event.at(),
        LedgerEvent::Chain(event) => event.at(),
        LedgerEvent::Deposit(event) => match event.block() {
            Some(block) => block.time,
            None => event.at(),
        },
    }
}

fn payment_postings(event: &PaymentEvent) -> Vec<Posting> {
    match event {
        PaymentEvent::DepositDetected(seen) => seen.merchant_id.map_or_else(Vec::new, |merchant| {
            let flow = Flow::deposit(&seen.deposit.chain, merchant, seen.disposition, &seen.amount);
            Vec::from(flow.lines(Layer::Pending))
        }),
        PaymentEvent::DepositReincluded(seen) => seen.merchant_id.map_or_else(Vec::new, |merchant| {
            let flow = Flow::deposit(&seen.deposit.chain, merchant, seen.disposition, &seen.amount);
            Vec::from(flow.lines(Layer::Pending))
        }),
        PaymentEvent::DepositConfirmed(confirmed) => {
            let chain = &confirmed.deposit.chain;
            let flow = Flow::deposit(chain, confirmed.merchant_id, confirmed.disposition, &confirmed.amount);
            let released = confirmed.releases_pending.then(|| flow.clone().reverse().lines(Layer::Pending));
            released.into_iter().flatten().chain(flow.lines(Layer::Posted)).collect()
        }
        PaymentEvent::DepositOrphaned(orphaned) => {
            let chain = &orphaned.deposit.chain;
            let flow = Flow::deposit(chain, orphaned.merchant_id, orphaned.disposition, &orphaned.amount).reverse();
            let released = orphaned.releases_pending.then(|| flow.clone().lines(Layer::Pending));
            let taken_back = orphaned.was_confirmed.then(|| flow.lines(Layer::Posted));
            released.into_iter().chain(taken_back).flatten().collect()
        }
        PaymentEvent::RefundRequested(refund) => {
            Vec::from(Flow::refund(&refund.chain, refund.merchant_id, &refund.amount).lines(Layer::Pending))
        }
        PaymentEvent::RefundCompleted(refund) => {
            let flow = Flow::refund(&refund.chain, refund.merchant_id, &refund.amount);
            let fee = refund.network_fee.as_ref().filter(|fee| !fee.is_zero());
            let fee = fee.map(|fee| Flow::network_fee(&refund.chain, fee).lines(Layer::Posted));
            let released = flow.clone().reverse().lines(Layer::Pending);
            released.into_iter().chain(flow.lines(Layer::Posted)).chain(fee.into_iter().flatten()).collect()
        }
        PaymentEvent::RefundCancelled(refund) => {
            let flow = Flow::refund(&refund.chain, refund.merchant_id, &refund.amount);
            Vec::from(flow.reverse().lines(Layer::Pending))
        }
        PaymentEvent::DepositAssigned(assigned) => {
            Vec::from(Flow::assignment(assigned.merchant_id, &assigned.amount).lines(Layer::Posted))
        }
        PaymentEvent::HeldDepositRefunded(refund) => {
            sent_back(&refund.deposit.chain, &refund.amount, refund.network_fee.as_ref())
        }
        // The payment that has it books what becomes of it.
        PaymentEvent::HeldDepositReassigned(_)
        | PaymentEvent::ReassignedDepositReported(_)
        | PaymentEvent::PaymentCreated(_)
        | PaymentEvent::PaymentPartiallyPaid(_)
        | PaymentEvent::PaymentConfirming(_)
        | PaymentEvent::PaymentCompleted(_)
        | PaymentEvent::PaymentAdjusted(_)
        | PaymentEvent::PaymentExpired(_)
        | PaymentEvent::PaymentCancelled(_)
        | PaymentEvent::PaymentHeld(_)
        | PaymentEvent::PaymentReversed(_)
        | PaymentEvent::PaymentReopened(_)
        | PaymentEvent::PaymentRefunded(_) => Vec::new(),
    }
}

fn unmatched_postings(event: &UnmatchedDepositEvent) -> Vec<Posting> {
    match event {
        // Once assigned, what the chain does is booked by the payment.
        UnmatchedDepositEvent::UnmatchedDepositRecorded(it) if it.assigned_to.is_none() => {
            Vec::from(Flow::unmatched(&it.deposit.chain, &it.amount).lines(Layer::Posted))
        }
        UnmatchedDepositEvent::UnmatchedDepositOrphaned(it) if it.assigned_to.is_none() => {
            Vec::from(Flow::unmatched(&it.deposit.chain, &it.amount).reverse().lines(Layer::Posted))
        }
        UnmatchedDepositEvent::UnmatchedDepositRefunded(it) => {
            sent_back(&it.deposit.chain, &it.amount, it.network_fee.as_ref())
        }
        UnmatchedDepositEvent::UnmatchedDepositRecorded(_)
        | UnmatchedDepositEvent::UnmatchedDepositOrphaned(_)
        | UnmatchedDepositEvent::UnmatchedDepositAssigned(_) => Vec::new(),
    }
}

/// Money that leaves suspense, and what the network took for it.
fn sent_back(chain: &ChainName, amount: &Money, network_fee: Option<&Money>) -> Vec<Posting> {
    let fee = network_fee.filter(|fee| !fee.is_zero());
    let fee = fee.map(|fee| Flow::network_fee(chain, fee).lines(Layer::Posted));
    let flow = Flow::unmatched(chain, amount).reverse().lines(Layer::Posted);
    flow.into_iter().chain(fee.into_iter().flatten()).collect()
}

fn payment_effective_at(event: &PaymentEvent) -> Timestamp {
    match event {
        PaymentEvent::PaymentCreated(created) => created.created_at,
        PaymentEvent::DepositDetected(deposit) => deposit.block.time,
        PaymentEvent::DepositReincluded(deposit) => counts_from(deposit.block.time, deposit.assigned_at),
        PaymentEvent::DepositConfirmed(deposit) => counts_from(deposit.block.time, deposit.assigned_at),
        PaymentEvent::DepositOrphaned(deposit) => counts_from(deposit.block.time, deposit.assigned_at),
        PaymentEvent::DepositAssigned(assigned) => assigned.at,
        PaymentEvent::HeldDepositReassigned(reassigned) => reassigned.at,
        PaymentEvent::ReassignedDepositReported(reported) => reported.block.time,
        PaymentEvent::HeldDepositRefunded(refund) => refund.at,
        PaymentEvent::RefundRequested(refund) => refund.at,
        PaymentEvent::RefundCompleted(refund) => refund.at,
        PaymentEvent::RefundCancelled(refund) => refund.at,
        PaymentEvent::PaymentPartiallyPaid(standing)
        | PaymentEvent::PaymentConfirming(standing)
        | PaymentEvent::PaymentCompleted(standing)
        | PaymentEvent::PaymentAdjusted(standing)
        | PaymentEvent::PaymentExpired(standing)
        | PaymentEvent::PaymentCancelled(standing)
        | PaymentEvent::PaymentHeld(standing)
        | PaymentEvent::PaymentReversed(standing)
        | PaymentEvent::PaymentReopened(standing)
        | PaymentEvent::PaymentRefunded(standing) => standing.at,
    }
}

/// Money that was assigned was not the payment's before.
fn counts_from(block_time: Timestamp, assigned_at: Option<Timestamp>) -> Timestamp {
    assigned_at.map_or(block_time, |assigned_at| block_time.max(assigned_at))
}

const fn merchant_effective_at(event: &MerchantEvent) -> Timestamp {
    match event {
        MerchantEvent::MerchantRegistered(event) => event.at,
        MerchantEvent::ApiKeyIssued(event) => event.at,
        MerchantEvent::ApiKeyRevoked(event) => event.at,
        MerchantEvent::WebhookConfigured(event) => event.at,
        MerchantEvent::MerchantSuspended(event) => event.at,
        MerchantEvent::MerchantReinstated(event) => event.at,
        MerchantEvent::MerchantForgotten(event) => event.at,
    }
}

/// Money on its way from the account that is credited to the one that is debited.
#[derive(Clone)]
struct Flow<'a> {
    debit: Account,
    credit: Account,
    amount: &'a Money,
}

impl<'a> Flow<'a> {
    fn deposit(chain: &ChainName, merchant: MerchantId, disposition: Disposition, amount: &'a Money) -> Self {
        let credit = match disposition {
            Disposition::Credit => Account::MerchantPayable(merchant),
            Disposition::Hold(_) => Account::Suspense,
        };
        Self { debit: Account::Custody(chain.clone()), credit, amount }
    }

    /// Money that is nobody's yet.
    fn unmatched(chain: &ChainName, amount: &'a Money) -> Self {
        Self { debit: Account::Custody(chain.clone()), credit: Account::Suspense, amount }
    }

    /// Money that was nobody's, or held, becomes the merchant's.
    fn assignment(merchant: MerchantId, amount: &'a Money) -> Self {
        Self { debit: Account::Suspense, credit: Account::MerchantPayable(merchant), amount }
    }

    fn refund(chain: &ChainName, merchant: MerchantId, amount: &'a Money) -> Self {
        Self { debit: Account::MerchantPayable(merchant), credit: Account::Custody(chain.clone()), amount }
    }

    fn network_fee(chain: &ChainName, amount: &'a Money) -> Self {
        Self { debit: Account::PlatformGas, credit: Account::Custody(chain.clone()), amount }
    }

    fn reverse(self) -> Self {
        Self { debit: self.credit, credit: self.debit, amount: self.amount }
    }

    fn lines(self, layer: Layer) -> [Posting; 2] {
        [
            Posting { account: self.debit, layer, side: Side::Debit, amount: self.amount.clone() },
            Posting { account: self.credit, layer, side: Side::Credit, amount: self.amount.clone() },
        ]
    }
}
