//! The read model `payments`: a row per payment, as its last event left it.

mod apply;
mod fold;
mod query;

pub(crate) use apply::apply;
pub use query::{PaymentFilter, PaymentRow, due_for_expiry, find, list};
