//! The read side: what lists, reports and balances are answered from.
//!
//! One follower, [`Projections`], folds the events of the ledger into the tables of six read models, a batch and its
//! checkpoint in one transaction. A folder per read model: `apply.rs` writes its tables and is the only code that does,
//! `query.rs` reads them.
//!
//! What holds:
//! - Every row is a function of the events up to the checkpoint and of nothing else (the one exception: a merchant's name
//!   and e-mail, which are in no event). How the events were cut into batches leaves no trace.
//! - [`rebuild()`] makes the same rows again and swaps them in; readers never see a table half built.
//! - A query is one statement, so its rows and their `as_of_position` belong to one moment. Where a question is about the
//!   books as of a position (`journal`, `reports`), the answer for that position never changes, however many statements.
//! - No amount that the write side lets through stops the follower, however wide.
//!
//! What is absent: no clock, no running counts of confirmations (queries compute them from `chain_heads`), no queries
//! across merchants except those whose name says so.

pub mod balances;
pub mod chain_heads;
pub mod deposits;
pub mod feed;
pub mod journal;
pub mod merchants;
pub mod payments;
pub mod reports;
pub mod transactions;

mod as_of;
mod batch;
mod check;
mod decode;
mod delta;
mod error;
mod handler;
mod lag;
mod minor;
mod model;
mod page;
mod profiles;
mod rebuild;
mod version;

pub use as_of::{AsOfPoint, Period, QueryError, Scope, TimeAxis};
pub use check::{Checked, Column, Difference, Found, TableCheck, check};
pub use error::PoisonError;
pub use handler::{FOLLOWER, Projections};
pub use lag::{Lag, lag, observe_lag};
pub use minor::MinorTotal;
pub use model::ReadModel;
pub use page::{AsOf, Cursor, CursorError, Page};
pub use profiles::{Profile, ProfileError, Profiles};
pub use rebuild::{Progress, RebuildError, Rebuilt, Stage, rebuild, rebuild_models};
pub use version::{LastRebuild, ModelVersion, Standing, standings};
