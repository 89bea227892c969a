//! Replay: what the ledger was at a moment, folded from events alone. No projection is asked.
//!
//! [`ledger`] folds the whole ledger up to a moment: counts, balances, trial balance. [`history`] shows one aggregate,
//! event by event, with the cause of each, the rule that decided and what it left behind. A moment is a position or a
//! recorded time ([`Moment`]).

mod assets;
mod books;
mod cause;
mod error;
mod history;
mod ledger;
mod moment;
pub(crate) mod rules;
mod store;

pub use books::{Balance, Books, Signed, TrialBalance};
pub use cause::Cause;
pub use error::ReplayError;
pub use history::{BookedLine, History, Standing, Step, Subject, history, history_of};
pub use ledger::{BalanceLine, LedgerFold, LedgerReplay, ledger};
pub use moment::{AsOf, Moment, MomentError, first_at_or_after, resolve};

pub(crate) use assets::{NAMING, learn};
pub(crate) use books::text;
pub(crate) use history::stream_of;
pub(crate) use store::recorded;

/// How far a replay has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The newest position that was worked on.
    pub position: i64,
    /// The last one there is to work on.
    pub target: i64,
    /// Which pass over the log this is, from 1.
    pub pass: u8,
    /// How many there are.
    pub passes: u8,
}
