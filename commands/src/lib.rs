//! The write side of a ledger: commands in, events out, in one total order.
//!
//! [`Ledger`] executes commands of payments, unmatched deposits, merchants, access keys and chains. It promises:
//!
//! - **Whole or nothing.** A command's events and claims are written in one transaction, or not at all.
//! - **Dense positions in commit order.** A reader that has seen position `n` has seen every position before it.
//! - **Losers are answered alone.** A stale sequence or a taken claim never harms the commands that share an append.
//! - **Never twice.** When the connection breaks during a commit, the outcome is found out from the ledger itself before
//!   anybody is answered; where it cannot be, the caller is told so ([`AppendError::OutcomeUnknown`]).
//!
//! Concurrent commands share one statement and one fsync (`store`). [`AddressLeases`] gives out deposit addresses,
//! [`inbox`] executes what chain watchers report, [`merchant_changes`] tells other processes of changed merchants, keys and
//! chains, [`LiveCatalog`] is what is accepted at the moment.
//!
//! What is deliberately absent: read models (the crate `projections`), snapshots, updates or deletions of events, and
//! side effects of commands other than the append.

mod access;
mod addresses;
mod chains;
mod claims;
mod deposit;
mod error;
pub mod inbox;
mod ledger;
mod merchant;
pub mod merchant_changes;
mod payment;
pub mod store;

pub use access::KeyHolder;
pub use addresses::{AddressLeases, LeaseError};
pub use chains::{CatalogError, LiveCatalog};
pub use claims::{AddressFormError, Claim, ClaimKind, IdempotencyClaim, TakenClaim, family_of_address};
pub use deposit::UnmatchedError;
pub use error::{AppendError, ExecuteError, InvalidAppend, LoadError, SharedError};
pub use ledger::{Executed, Ledger, LedgerOptions};
pub use payment::Created;
