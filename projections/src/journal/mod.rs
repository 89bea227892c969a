//! The read model `journal`: the lines of double entry, the totals of every account after each of them, and the questions
//! that finance and auditors ask: balances, entries, statements and the trial balance, as of any moment.
//!
//! `lines.rs` turns a batch into lines and sums; `store.rs` writes them; a file per question reads them. An answer for a
//! position that has been reached never changes, so a question may take more than one statement: the first finds the
//! position, the others stay below it.

mod accounts;
mod apply;
mod balance;
mod cursor;
mod entries;
mod lines;
mod sql;
mod statement;
mod store;
mod trial_balance;

pub use accounts::{AccountFilter, AccountRow, accounts, balance};
pub(crate) use apply::apply;
pub use balance::{AssetInfo, Balance};
pub use cursor::{AccountCursor, LineCursor};
pub use entries::{AggregateRef, EntryFilter, EntryRow, entries};
pub use statement::{Statement, StatementRequest, statement};
pub use trial_balance::{TrialBalance, TrialBalanceLine, trial_balance};
