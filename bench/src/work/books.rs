//! What every replay folds events into: the books by account, asset and layer, and each payment's status.

use std::collections::HashMap;

use wopay_domain::ledger::{Account, Layer, Side, postings};
use wopay_domain::payment::{PaymentEvent, PaymentStatus};
use wopay_domain::{AssetId, LedgerEvent, PaymentId};

/// Debits and credits, in minor units.
#[derive(Clone, Copy, Debug, Default)]
struct Sides {
    debit: u128,
    credit: u128,
}

/// The ledger as the events so far leave it.
#[derive(Debug, Default)]
pub(super) struct Books {
    events: u64,
    accounts: HashMap<(Account, AssetId, Layer), Sides>,
    payments: HashMap<PaymentId, PaymentStatus>,
}

impl Books {
    /// Folds an event of this aggregate.
    pub(super) fn fold(&mut self, aggregate_id: &str, event: &LedgerEvent) -> anyhow::Result<()> {
        self.events += 1;
        for posting in postings(event) {
            let asset = posting.amount.asset().clone();
            let sides = self.accounts.entry((posting.account, asset, posting.layer)).or_default();
            match posting.side {
                Side::Debit => sides.debit += posting.amount.minor(),
                Side::Credit => sides.credit += posting.amount.minor(),
            }
        }
        let LedgerEvent::Payment(event) = event else { return Ok(()) };
        let status = match (event, event.standing()) {
            (PaymentEvent::PaymentCreated(_), _) => PaymentStatus::Pending,
            (_, Some(standing)) => standing.status,
            (_, None) => return Ok(()),
        };
        self.payments.insert(aggregate_id.parse()?, status);
        Ok(())
    }

    /// How many events were folded, and what came out, which is the same whoever reads them.
    pub(super) fn result(&self) -> (u64, String) {
        let completed = self.payments.values().filter(|status| **status == PaymentStatus::Completed).count();
        let debit: u128 = self.accounts.values().map(|sides| sides.debit).sum();
        let credit: u128 = self.accounts.values().map(|sides| sides.credit).sum();
        let balanced = if debit == credit { "balanced" } else { "NOT BALANCED" };
        let (payments, accounts) = (self.payments.len(), self.accounts.len());
        (self.events, format!("{payments} payments ({completed} completed), {accounts} balances, {balanced}"))
    }
}
