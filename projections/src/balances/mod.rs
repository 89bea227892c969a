//! The read model `balances`: the journal of double entry, its sums by account and asset, and what is on its way.

mod apply;
mod query;

pub(crate) use apply::apply;
pub use query::{BalanceRow, TrialBalanceRow, of_merchant, trial_balance};
