//! The read model `blockchain_transactions`: a row per deposit of a payment, as its last event left
//! it.

mod apply;
mod decisions;
mod fold;
mod opening;
mod query;

pub(crate) use apply::apply;
pub use query::{TransactionRow, of_payment, of_payments};
