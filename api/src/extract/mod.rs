//! What is read from a request, strictly: unknown things are refused, every error is collected, text becomes a type
//! here and is never looked at again.

mod body;
mod fields;
mod idempotency;
mod path;
mod query;

pub use body::BODY_BYTES_MAX;
pub(crate) use body::JsonBody;
pub(crate) use fields::{Fields, Scalar};
pub(crate) use idempotency::IdempotencyKey;
pub(crate) use path::{PaymentPath, TextPath};
pub(crate) use query::Query;
