//! Odd money: what came and counts for no payment. The table `unmatched_deposits` is written from the events of unmatched
//! deposits; the list joins it with what payments hold or were given, and with what the watchers keep without telling the
//! ledger.

mod apply;
mod query;
mod sources;

pub(crate) use apply::apply;
pub use query::{Decision, DepositFilter, DepositState, DustSum, OddDeposit, dust, list};
