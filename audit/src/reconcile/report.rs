//! What a reconciliation says.

use serde::Serialize;
use wopay_domain::{AssetId, BlockRef, ChainName, MerchantId, PaymentId};

/// What a reconciliation found.
#[derive(Clone, Debug, Serialize)]
pub struct Reconciliation {
    /// The chain.
    pub chain: ChainName,
    /// The block on both sides; of a chain that is read as it goes on, the first one.
    pub block: BlockRef,
    /// The height of the newest block that a balance is of: the block's, unless the chain is read as it goes on.
    pub read_up_to: u64,
    /// The ledger's position up to which events were read.
    pub position: i64,
    /// The block that the watcher had processed then: what is above is not in the ledger yet. `None`: never watched.
    pub watched_to: Option<u64>,
    /// Addresses compared, treasury accounts not counted.
    pub addresses: u64,
    /// Accounts (address and asset) where ledger and chain differ.
    pub differences_total: u64,
    /// The first of them; see [`super::DIFFERENCES_KEPT_MAX`].
    pub differences: Vec<Difference>,
    /// Sums for each asset, configured ones first.
    pub totals: Vec<AssetTotal>,
}

impl Reconciliation {
    /// Whether ledger and chain say the same.
    #[must_use]
    pub const fn is_balanced(&self) -> bool {
        self.differences_total == 0
    }

    /// Whether the ledger cannot know the block yet, so that differences prove nothing.
    #[must_use]
    pub fn is_premature(&self) -> bool {
        self.watched_to.is_none_or(|height| height < self.read_up_to)
    }
}

/// An account where ledger and chain differ. Amounts are minor units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The address.
    pub address: String,
    /// The asset.
    pub asset: AssetId,
    /// Which way.
    pub kind: DifferenceKind,
    /// The payment that the address belongs to; `None`: to none.
    pub payment: Option<PaymentId>,
    /// Whose payment it is.
    pub merchant: Option<MerchantId>,
    /// Of what that is made.
    #[serde(flatten)]
    pub sums: Sums,
    /// What should be there: `confirmed + seen + unmatched + dust`, of which `refunded` may be gone.
    #[serde(serialize_with = "as_text")]
    pub expected: u128,
    /// What is there.
    #[serde(serialize_with = "as_text")]
    pub found: u128,
}

/// What makes up what should be there. Amounts are minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Deposits of payments that are booked.
    #[serde(serialize_with = "as_text")]
    pub confirmed: u128,
    /// Deposits that are seen and not booked yet.
    #[serde(serialize_with = "as_text")]
    pub seen: u128,
    /// Money that came while no payment claimed its address, assigned since or not.
    #[serde(serialize_with = "as_text")]
    pub unmatched: u128,
    /// Money beside the books: too little to count, or of a token that was not configured then. No event holds it.
    #[serde(serialize_with = "as_text")]
    pub dust: u128,
    /// Completed refunds of this money, network fees included. They may have been paid from elsewhere.
    #[serde(serialize_with = "as_text")]
    pub refunded: u128,
}

impl Sums {
    /// What should be there before refunds; `None`: more than can be counted.
    pub(super) fn expected(&self) -> Option<u128> {
        [self.confirmed, self.seen, self.unmatched, self.dust].into_iter().try_fold(0_u128, u128::checked_add)
    }

    /// Both together; `None`: more than can be counted.
    pub(super) fn checked_add(&self, other: &Self) -> Option<Self> {
        Some(Self {
            confirmed: self.confirmed.checked_add(other.confirmed)?,
            seen: self.seen.checked_add(other.seen)?,
            unmatched: self.unmatched.checked_add(other.unmatched)?,
            dust: self.dust.checked_add(other.dust)?,
            refunded: self.refunded.checked_add(other.refunded)?,
        })
    }
}

/// Which way ledger and chain differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// The chain holds more: a deposit was missed, or never reported.
    Unrecorded,
    /// The chain holds less: money left without a record, or never was there.
    Missing,
}

/// Sums of one asset. Amounts are minor units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AssetTotal {
    /// The asset.
    pub asset: AssetId,
    /// Of what it is made that should be there.
    #[serde(flatten)]
    pub sums: Sums,
    /// Of what refunds took, what is gone from the addresses: they were paid from there. With it
    /// `confirmed + seen + unmatched + dust - left + unrecorded - missing = found`.
    #[serde(serialize_with = "as_text")]
    pub left: u128,
    /// What deposit addresses hold.
    #[serde(serialize_with = "as_text")]
    pub found: u128,
    /// What treasury accounts hold.
    #[serde(serialize_with = "as_text")]
    pub treasury: u128,
    /// What addresses hold that the ledger does not know of.
    #[serde(serialize_with = "as_text")]
    pub unrecorded: u128,
    /// What addresses should hold and do not.
    #[serde(serialize_with = "as_text")]
    pub missing: u128,
}

impl AssetTotal {
    pub(super) const fn none(asset: AssetId) -> Self {
        let sums = Sums { confirmed: 0, seen: 0, unmatched: 0, dust: 0, refunded: 0 };
        Self { asset, sums, left: 0, found: 0, treasury: 0, unrecorded: 0, missing: 0 }
    }
}

fn as_text<S: serde::Serializer>(amount: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(amount)
}
