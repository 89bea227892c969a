//! The read model `feed`: a merchant's own events, numbered 1, 2, 3 … without a gap.
//!
//! Positions number the events of the whole ledger: who reads only its own cannot tell whether one is missing between two
//! of them. Here it can.

mod apply;
mod ledger;
mod query;

pub(crate) use apply::apply;
pub use ledger::ledger_after;
pub use query::{FeedRow, after, owner};
