//! An access key: lets a person or a program of the house read the books of every merchant, or check them.
//!
//! A key belongs to nobody in particular and can change nothing; it is issued and revoked by an operator. Each key is an
//! aggregate of its own, so that the ledger says who could read what, and from when to when. The key itself is never
//! part of an event: its hash is a claim of the store. The label is the operator's own text: it should name a purpose,
//! not a person, as it stays for ever.

mod aggregate;
mod command;
mod decide;
mod error;
mod event;
mod evolve;
mod state;
#[cfg(test)]
mod tests;

pub use command::{AccessKeyCommand, IssueAccessKey};
pub use decide::{LABEL_CHARS_MAX, decide};
pub use error::AccessKeyError;
pub use event::{AccessKeyEvent, AccessKeyIssued, AccessKeyRevoked};
pub use evolve::evolve;
pub use state::{AccessKey, AccessKeyState, AccessRole, UnknownRole};

/// `aggregate_type` of access keys.
pub const AGGREGATE_TYPE: &str = "access_key";
