//! Double entry: what an event means for the books. Per asset, the postings of every event sum to zero.

use std::fmt;

use crate::chain::ChainName;
use crate::envelope::LedgerEvent;
use crate::ids::MerchantId;
use crate::money::Money;
use crate::payment::{Disposition, PaymentEvent};

/// An account of the books. Text form as in [`fmt::Display`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// `custody:<chain>`: what our addresses on a chain hold.
    Custody(ChainName),
    /// `merchant:<id>:payable`: what we owe a merchant.
    MerchantPayable(MerchantId),
    /// `suspense`: money held until somebody decides whose it is.
    Suspense,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Custody(chain) => write!(f, "custody:{chain}"),
            Self::MerchantPayable(merchant) => write!(f, "merchant:{merchant}:payable"),
            Self::Suspense => f.write_str("suspense"),
        }
    }
}

/// The side of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// One line of a journal entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// The account.
    pub account: Account,
    /// The side.
    pub side: Side,
    /// The amount, never negative.
    pub amount: Money,
}

/// The journal entry that an event makes; empty when no money moved.
#[must_use]
pub fn postings(event: &LedgerEvent) -> Vec<Posting> {
    match event {
        LedgerEvent::Payment(event) => payment_postings(event),
        LedgerEvent::Merchant(_) => Vec::new(),
    }
}

fn payment_postings(event: &PaymentEvent) -> Vec<Posting> {
    match event {
        PaymentEvent::DepositConfirmed(confirmed) => {
            let custody = Account::Custody(confirmed.deposit.chain.clone());
            transfer(custody, counterpart(confirmed.merchant_id, &confirmed.disposition), &confirmed.amount)
        }
        PaymentEvent::DepositOrphaned(orphaned) if orphaned.was_confirmed => {
            let custody = Account::Custody(orphaned.deposit.chain.clone());
            transfer(counterpart(orphaned.merchant_id, &orphaned.disposition), custody, &orphaned.amount)
        }
        PaymentEvent::DepositOrphaned(_)
        | PaymentEvent::PaymentCreated(_)
        | PaymentEvent::DepositDetected(_)
        | PaymentEvent::DepositReincluded(_)
        | PaymentEvent::PaymentPartiallyPaid(_)
        | PaymentEvent::PaymentConfirming(_)
        | PaymentEvent::PaymentCompleted(_)
        | PaymentEvent::PaymentAdjusted(_)
        | PaymentEvent::PaymentExpired(_)
        | PaymentEvent::PaymentCancelled(_)
        | PaymentEvent::PaymentHeld(_)
        | PaymentEvent::PaymentReversed(_)
        | PaymentEvent::PaymentReopened(_) => Vec::new(),
    }
}

fn counterpart(merchant: MerchantId, disposition: &Disposition) -> Account {
    match disposition {
        Disposition::Credit => Account::MerchantPayable(merchant),
        Disposition::Hold(_) => Account::Suspense,
    }
}

fn transfer(debit: Account, credit: Account, amount: &Money) -> Vec<Posting> {
    vec![
        Posting { account: debit, side: Side::Debit, amount: amount.clone() },
        Posting { account: credit, side: Side::Credit, amount: amount.clone() },
    ]
}
