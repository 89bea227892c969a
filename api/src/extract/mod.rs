//! What is read from a request, strictly: unknown things are refused, every error is collected, text becomes a type
//! here and is never looked at again.

mod body;
mod fields;
mod format;
mod idempotency;
mod moment;
mod path;
mod query;
pub(crate) mod read;

pub use body::BODY_BYTES_MAX;
pub(crate) use body::JsonBody;
pub(crate) use fields::{Fields, Scalar};
pub(crate) use format::{Format, Preferred};
pub(crate) use idempotency::IdempotencyKey;
pub(crate) use moment::{CURSOR_EXPECTED, ListCursor, take_moment, take_moment_and_place};
pub(crate) use path::{PaymentPath, TextPath};
pub(crate) use query::Query;
