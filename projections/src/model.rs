//! The read models by name.

use sqlx::PgConnection;

use crate::batch::Batch;
use crate::error::ApplyError;
use crate::profiles::Profiles;
use crate::{deposits, feed, journal, merchants, payments, transactions};

/// A group of tables that is folded, and can be rebuilt, without the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadModel {
    /// Merchants and their API keys.
    Merchants,
    /// Payments.
    Payments,
    /// Deposits of payments on the chains.
    BlockchainTransactions,
    /// Money at addresses that no payment claimed.
    UnmatchedDeposits,
    /// The journal of double entry and its sums.
    Journal,
    /// Each merchant's own events, numbered.
    Feed,
}

impl ReadModel {
    /// Every read model, in the order in which they are applied.
    pub const ALL: [Self; 6] = [
        Self::Merchants,
        Self::Payments,
        Self::BlockchainTransactions,
        Self::UnmatchedDeposits,
        Self::Journal,
        Self::Feed,
    ];

    /// The name at the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Merchants => "merchants",
            Self::Payments => "payments",
            Self::BlockchainTransactions => "blockchain_transactions",
            Self::UnmatchedDeposits => "unmatched_deposits",
            Self::Journal => "journal",
            Self::Feed => "feed",
        }
    }

    /// The read model of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.as_str() == name)
    }

    /// Its tables. No other read model writes them.
    #[must_use]
    pub const fn tables(self) -> &'static [&'static str] {
        match self {
            Self::Merchants => &["merchants", "merchant_api_keys"],
            Self::Payments => &["payments"],
            Self::BlockchainTransactions => &["blockchain_transactions"],
            Self::UnmatchedDeposits => &["unmatched_deposits"],
            Self::Journal => &["ledger_postings", "account_balances", "account_days", "account_hours", "assets"],
            Self::Feed => &["merchant_events"],
        }
    }

    /// The version of its rows: counted up by whoever changes what `apply` makes of the same events, be it by a column, a
    /// rule or a fault mended. The stored rows are of the version that stands in `projection_versions`; when that is an
    /// older one, the role `projections` rebuilds the model at its next start.
    #[must_use]
    pub const fn version(self) -> i32 {
        match self {
            Self::Merchants | Self::Payments | Self::Journal | Self::Feed => 1,
            Self::BlockchainTransactions | Self::UnmatchedDeposits => 2,
        }
    }

    /// The indexes through which [`apply`](Self::apply) finds rows, constraints among them. A rebuild loads the tables
    /// with these alone and makes the others when all rows are there: sorting once costs less than a million insertions.
    pub(crate) const fn lookups(self) -> &'static [&'static str] {
        match self {
            Self::Merchants => &["merchants_pkey", "merchant_api_keys_pkey", "idx_merchant_api_keys_merchant"],
            Self::Payments => &["payments_pkey"],
            Self::BlockchainTransactions => &["idx_blockchain_deposit"],
            Self::UnmatchedDeposits => &["unmatched_deposits_pkey"],
            Self::Journal => {
                &["idx_account_balances_account", "account_days_pkey", "account_hours_pkey", "assets_pkey"]
            }
            Self::Feed => &["merchant_events_pkey"],
        }
    }

    /// The names of all, for messages.
    #[must_use]
    pub fn names() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }

    /// Folds a batch into the tables that the connection's `search_path` finds.
    pub(crate) async fn apply(
        self,
        connection: &mut PgConnection,
        batch: &Batch<'_>,
        profiles: &dyn Profiles,
    ) -> Result<(), ApplyError> {
        let applied = match self {
            Self::Merchants => merchants::apply(connection, batch, profiles).await,
            Self::Payments => payments::apply(connection, batch).await,
            Self::BlockchainTransactions => transactions::apply(connection, batch).await,
            Self::UnmatchedDeposits => deposits::apply(connection, batch).await,
            Self::Journal => journal::apply(connection, batch).await,
            Self::Feed => feed::apply(connection, batch).await,
        };
        applied.map_err(|error| error.refused_at(batch.first_position()))
    }
}
