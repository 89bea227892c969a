//! Odd money: what came and counts for no payment. The table `unmatched_deposits` is written from the events of unmatched
//! deposits; the list joins it with held deposits of payments and with what the watchers keep without telling the ledger.

mod apply;
mod query;

pub(crate) use apply::apply;
pub use query::{DepositFilter, DepositState, DustSum, OddDeposit, dust, list};
