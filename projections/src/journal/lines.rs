//! Turns a batch into journal lines and into what they do to the totals. No SQL here.

use std::collections::{BTreeMap, HashMap};

use wopay_domain::ledger::{self, Account, Layer, Side};
use wopay_domain::payment::PaymentEvent;
use wopay_domain::{AssetId, LedgerEvent, Timestamp};

use super::balance::Balance;
use super::sql::{day, hour};
use crate::batch::{Batch, Entry};
use crate::minor::MinorTotal;

/// Room for the lines of one event in a balance's id; see `account_balances.id`.
const LINES_OF_EVENT: i64 = 256;

/// What a batch books.
#[derive(Default)]
pub(super) struct Booking<'a> {
    /// The balances that change. Lines, days and hours name them by their place here.
    pub(super) balances: Vec<Changed>,
    /// In the order of the ledger.
    pub(super) lines: Vec<Line<'a>>,
    /// By balance, day and event.
    pub(super) days: BTreeMap<(usize, Timestamp, &'a str), Span>,
    /// By balance and hour.
    pub(super) hours: BTreeMap<(usize, Timestamp), Span>,
    places: HashMap<(Account, AssetId), usize>,
}

/// A balance that changes.
pub(super) struct Changed {
    pub(super) account: String,
    pub(super) asset: String,
    /// Its id, if no earlier batch began it.
    pub(super) id: i64,
    /// Of its last line.
    pub(super) position: i64,
    /// What the batch adds.
    pub(super) change: Balance,
}

/// A line.
pub(super) struct Line<'a> {
    pub(super) balance: usize,
    pub(super) position: i64,
    pub(super) line: i16,
    pub(super) layer: Layer,
    pub(super) side: Side,
    pub(super) releases: bool,
    pub(super) event_type: &'a str,
    pub(super) amount: u128,
    pub(super) recorded_at: Timestamp,
    pub(super) effective_at: Timestamp,
    /// What the batch has added to the balance up to and with this line.
    pub(super) change: Balance,
}

/// Lines that took effect in one span of time.
#[derive(Default)]
pub(super) struct Span {
    /// 0 until the first line.
    pub(super) first_position: i64,
    pub(super) last_position: i64,
    pub(super) posted_lines: i64,
    pub(super) change: Balance,
}

impl Span {
    fn book(&mut self, line: &Line<'_>) {
        if self.first_position == 0 {
            self.first_position = line.position;
        }
        self.last_position = line.position;
        self.posted_lines = self.posted_lines.saturating_add(i64::from(line.layer == Layer::Posted));
        self.change.book(line.layer, line.side, line.releases, MinorTotal::from(line.amount));
    }
}

impl<'a> Booking<'a> {
    pub(super) fn of(batch: &Batch<'a>) -> Self {
        let mut booking = Self::default();
        for entry in batch.entries() {
            booking.book(entry);
        }
        booking
    }

    fn book(&mut self, entry: &'a Entry) {
        let position = entry.recorded.position;
        let event_type = entry.recorded.event_type.as_str();
        let effective_at = ledger::effective_at(&entry.event);
        for (line, posting) in (1_i16..).zip(ledger::postings(&entry.event)) {
            let amount = posting.amount.minor();
            let (layer, side) = (posting.layer, posting.side);
            let releases = layer == Layer::Pending && releases(&entry.event);
            let id = position.saturating_mul(LINES_OF_EVENT).saturating_add(i64::from(line));
            let balance = self.place(posting.account, posting.amount.asset(), id);
            let Some(changed) = self.balances.get_mut(balance) else { continue };
            changed.position = position;
            changed.change.book(layer, side, releases, MinorTotal::from(amount));
            let change = changed.change;
            let recorded_at = entry.recorded.recorded_at;
            let line = Line {
                balance,
                position,
                line,
                layer,
                side,
                releases,
                event_type,
                amount,
                recorded_at,
                effective_at,
                change,
            };
            self.days.entry((balance, day(effective_at), event_type)).or_default().book(&line);
            self.hours.entry((balance, hour(effective_at))).or_default().book(&line);
            self.lines.push(line);
        }
    }

    /// The place of a balance.
    fn place(&mut self, account: Account, asset: &AssetId, id: i64) -> usize {
        let Self { balances, places, .. } = self;
        *places.entry((account, asset.clone())).or_insert_with_key(|(account, asset)| {
            let (account, asset) = (account.to_string(), asset.to_string());
            balances.push(Changed { account, asset, id, position: 0, change: Balance::default() });
            balances.len().saturating_sub(1)
        })
    }
}

/// Whether the pending lines of an event take away those of an earlier one.
const fn releases(event: &LedgerEvent) -> bool {
    match event {
        LedgerEvent::Payment(event) => payment_releases(event),
        // Nothing of theirs is ever pending.
        LedgerEvent::Merchant(_) | LedgerEvent::Access(_) | LedgerEvent::Chain(_) | LedgerEvent::Deposit(_) => false,
    }
}

const fn payment_releases(event: &PaymentEvent) -> bool {
    match event {
        PaymentEvent::DepositConfirmed(_)
        | PaymentEvent::DepositOrphaned(_)
        | PaymentEvent::RefundCompleted(_)
        | PaymentEvent::RefundCancelled(_) => true,
        PaymentEvent::PaymentCreated(_)
        | PaymentEvent::DepositAssigned(_)
        | PaymentEvent::HeldDepositReassigned(_)
        | PaymentEvent::ReassignedDepositReported(_)
        | PaymentEvent::HeldDepositRefunded(_)
        | PaymentEvent::DepositDetected(_)
        | PaymentEvent::DepositReincluded(_)
        | PaymentEvent::RefundRequested(_)
        | PaymentEvent::PaymentPartiallyPaid(_)
        | PaymentEvent::PaymentConfirming(_)
        | PaymentEvent::PaymentCompleted(_)
        | PaymentEvent::PaymentAdjusted(_)
        | PaymentEvent::PaymentExpired(_)
        | PaymentEvent::PaymentCancelled(_)
        | PaymentEvent::PaymentHeld(_)
        | PaymentEvent::PaymentReversed(_)
        | PaymentEvent::PaymentReopened(_)
        | PaymentEvent::PaymentRefunded(_) => false,
    }
}
