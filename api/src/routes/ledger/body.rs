//! What several answers about the books have in common.

use serde::Serialize;
use utoipa::ToSchema;
use wopay_domain::ledger::Side;
use wopay_projections::MinorTotal;
use wopay_projections::journal::{AssetInfo, Balance};

use crate::table::{Cell, optional};

/// What money it is. Amounts beside it are decimal strings; in minor units (whole numbers) when `decimals` is null.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct AssetFields {
    /// The chain it lives on.
    #[schema(example = "ethereum")]
    blockchain: String,
    /// What identifies it: `<chain>/native` or `<chain>/<contract>`. The same symbol on two chains is two assets.
    #[schema(example = "ethereum/0xdac17f958d2ee523a2206206994597c13d831ec7")]
    asset: String,
    /// Its symbol; null if no payment ever asked for it.
    #[schema(example = "USDT")]
    currency: Option<String>,
    /// Digits after the point; null likewise.
    decimals: Option<u8>,
}

impl AssetFields {
    pub(crate) fn of(asset: &AssetInfo) -> Self {
        Self {
            blockchain: asset.id.chain().to_owned(),
            asset: asset.id.to_string(),
            currency: asset.symbol.clone(),
            decimals: asset.decimals,
        }
    }

    pub(crate) fn cells(&self) -> [Cell<'_>; 4] {
        let currency = self.currency.as_deref().unwrap_or_default();
        [self.blockchain.as_str().into(), self.asset.as_str().into(), currency.into(), optional(self.decimals)]
    }
}

/// What an account holds, seen from its normal side.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct BalanceFields {
    /// Booked.
    #[schema(example = "100.500000")]
    posted: String,
    /// Booked, less what is expected to go. What is expected to come never counts.
    #[schema(example = "100.500000")]
    available: String,
    /// Expected to come: seen on the chain, not confirmed yet.
    #[schema(example = "0.000000")]
    pending_in: String,
    /// Expected to go: refunds that were requested.
    #[schema(example = "0.000000")]
    pending_out: String,
}

impl BalanceFields {
    pub(crate) fn of(asset: &AssetInfo, normal: Side, balance: &Balance) -> Self {
        Self {
            posted: shown(asset, balance.posted(normal)),
            available: shown(asset, balance.available(normal)),
            pending_in: shown(asset, balance.pending_in(normal)),
            pending_out: shown(asset, balance.pending_out(normal)),
        }
    }

    pub(crate) fn cells(&self) -> [Cell<'_>; 4] {
        [&self.posted, &self.available, &self.pending_in, &self.pending_out].map(|text| text.as_str().into())
    }
}

/// The four totals that a balance is made of.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct TotalFields {
    /// All that was ever booked as a debit.
    posted_debit: String,
    /// All that was ever booked as a credit.
    posted_credit: String,
    /// Debits that are expected.
    pending_debit: String,
    /// Credits that are expected.
    pending_credit: String,
}

impl TotalFields {
    pub(crate) fn of(asset: &AssetInfo, balance: &Balance) -> Self {
        Self {
            posted_debit: shown(asset, balance.posted_debit),
            posted_credit: shown(asset, balance.posted_credit),
            pending_debit: shown(asset, balance.pending_debit),
            pending_credit: shown(asset, balance.pending_credit),
        }
    }

    pub(crate) fn cells(&self) -> [Cell<'_>; 4] {
        let totals = [&self.posted_debit, &self.posted_credit, &self.pending_debit, &self.pending_credit];
        totals.map(|text| text.as_str().into())
    }
}

/// An amount as people read it; minor units where nobody knows the decimals.
pub(crate) fn shown(asset: &AssetInfo, total: MinorTotal) -> String {
    asset.format(total).unwrap_or_else(|| total.to_string())
}
