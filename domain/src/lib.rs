//! The rules of WoPay: money, payments, merchants, double entry.
//!
//! Everything here is pure. `decide(&state, command)` says which events follow from a command, `evolve(state, event)`
//! folds an event into the state, `postings(event)` says what it means for the books.
//!
//! What is deliberately absent: no IO, no clock (commands carry the time), no random ids (commands carry them), no SQL,
//! no floating point, no panics on any input.

pub mod access;
pub mod catalog;
pub mod chain;
pub mod chains;
pub mod deposit;
pub mod envelope;
pub mod ids;
pub mod ledger;
pub mod merchant;
pub mod money;
pub mod payment;
mod text;
mod timestamp;
pub mod upcast;

pub use catalog::{ChainCatalog, Closed};
pub use chain::{BlockRef, ChainFamily, ChainName, ChainSpec, DepositKey, DepositLeg};
pub use envelope::{Actor, LedgerEvent, Metadata, RawJson, RecordedEvent};
pub use ids::{AccessKeyId, ApiKeyId, DepositId, MerchantId, PaymentId, RefundId, SecretRef};
pub use money::{Asset, AssetId, Money, Percentage};

/// A moment in UTC. Stored with microseconds, which is what Postgres keeps.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
