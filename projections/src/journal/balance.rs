//! What a balance is made of.

use sqlx::Row;
use sqlx::postgres::PgRow;
use wopay_domain::AssetId;
use wopay_domain::ledger::{Layer, Side};

use crate::decode::{parsed, total};
use crate::minor::MinorTotal;

/// The totals of an account in one asset, in minor units. By themselves they know no sign: which side makes the account grow
/// is [`Account::normal_side`](wopay_domain::ledger::Account::normal_side).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// All that was ever posted as a debit.
    pub posted_debit: MinorTotal,
    /// All that was ever posted as a credit.
    pub posted_credit: MinorTotal,
    /// Debits that are expected and have neither happened nor failed.
    pub pending_debit: MinorTotal,
    /// Credits that are expected and have neither happened nor failed.
    pub pending_credit: MinorTotal,
}

impl Balance {
    /// What the account holds: its normal side less the other.
    #[must_use]
    pub fn posted(&self, normal: Side) -> MinorTotal {
        let (grows, shrinks) = normal_first(normal, self.posted_debit, self.posted_credit);
        grows.minus(shrinks)
    }

    /// What is expected to come.
    #[must_use]
    pub const fn pending_in(&self, normal: Side) -> MinorTotal {
        normal_first(normal, self.pending_debit, self.pending_credit).0
    }

    /// What is expected to go.
    #[must_use]
    pub const fn pending_out(&self, normal: Side) -> MinorTotal {
        normal_first(normal, self.pending_debit, self.pending_credit).1
    }

    /// What may be spent: posted less what is expected to go. What is expected to come never counts.
    #[must_use]
    pub fn available(&self, normal: Side) -> MinorTotal {
        self.posted(normal).minus(self.pending_out(normal))
    }

    /// Both, total by total.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            posted_debit: self.posted_debit.plus(other.posted_debit),
            posted_credit: self.posted_credit.plus(other.posted_credit),
            pending_debit: self.pending_debit.plus(other.pending_debit),
            pending_credit: self.pending_credit.plus(other.pending_credit),
        }
    }

    /// What was there before `change`, total by total.
    #[must_use]
    pub(crate) fn minus(&self, change: &Self) -> Self {
        Self {
            posted_debit: self.posted_debit.minus(change.posted_debit),
            posted_credit: self.posted_credit.minus(change.posted_credit),
            pending_debit: self.pending_debit.minus(change.pending_debit),
            pending_credit: self.pending_credit.minus(change.pending_credit),
        }
    }

    /// What becomes of it by one line. A line that releases takes away what is pending on the other side.
    pub(crate) fn book(&mut self, layer: Layer, side: Side, releases: bool, amount: MinorTotal) {
        match (layer, side, releases) {
            (Layer::Posted, Side::Debit, _) => self.posted_debit = self.posted_debit.plus(amount),
            (Layer::Posted, Side::Credit, _) => self.posted_credit = self.posted_credit.plus(amount),
            (Layer::Pending, Side::Debit, false) => self.pending_debit = self.pending_debit.plus(amount),
            (Layer::Pending, Side::Credit, false) => self.pending_credit = self.pending_credit.plus(amount),
            (Layer::Pending, Side::Debit, true) => self.pending_credit = self.pending_credit.minus(amount),
            (Layer::Pending, Side::Credit, true) => self.pending_debit = self.pending_debit.minus(amount),
        }
    }

    /// Reads the columns `posted_debit` … `pending_credit`, selected as `::text`.
    pub(crate) fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            posted_debit: total(row, "posted_debit")?,
            posted_credit: total(row, "posted_credit")?,
            pending_debit: total(row, "pending_debit")?,
            pending_credit: total(row, "pending_credit")?,
        })
    }
}

const fn normal_first(normal: Side, debit: MinorTotal, credit: MinorTotal) -> (MinorTotal, MinorTotal) {
    match normal {
        Side::Debit => (debit, credit),
        Side::Credit => (credit, debit),
    }
}

/// An asset, with what is known about showing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetInfo {
    /// What identifies it; its chain is a part of this.
    pub id: AssetId,
    /// What people call it. `None` if no payment ever asked for it: money of a kind that nobody wanted.
    pub symbol: Option<String>,
    /// Its digits after the point. `None` likewise: only minor units can be shown then.
    pub decimals: Option<u8>,
}

impl AssetInfo {
    /// Reads the columns `asset`, `symbol` and `decimals`.
    pub(crate) fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        let decimals: Option<i16> = row.try_get("decimals")?;
        Ok(Self {
            id: parsed(row, "asset")?,
            symbol: row.try_get("symbol")?,
            decimals: decimals.and_then(|decimals| u8::try_from(decimals).ok()),
        })
    }

    /// A total as people read it, if the decimals are known.
    #[must_use]
    pub fn format(&self, total: MinorTotal) -> Option<String> {
        self.decimals.map(|decimals| total.format(decimals))
    }
}
