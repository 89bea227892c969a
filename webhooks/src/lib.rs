//! Tells merchants what happened to their payments: plan, sign, deliver.
//!
//! - [`Planner`] follows the ledger and writes one delivery row for each status event and target, in the transaction
//!   that moves its checkpoint. What is committed is planned, and never twice.
//! - [`sign`] signs after the Standard Webhooks specification; the body carries a second, plain signature.
//! - [`Deliverer`] makes the attempts: at least once, with the same id and the same bytes every time (unless the secret
//!   was replaced in between: then the newest one signs), until a 2xx, a 410 or the end of the schedule.
//!
//! What a receiver can rely on: `webhook-id` names a message, so a repetition can be recognized; `sequence` orders the
//! messages of a payment; the signature covers id, time and body. What it cannot: messages may overtake each other.
//!
//! What is deliberately absent: no event is sent that is not in the ledger, no receiver is waited for by anybody but its
//! own deliveries, no address is dialled that was not checked, no redirect is followed, no answer is read to its end.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test reports by panicking"))]

mod address;
mod announcement;
mod deliver;
pub mod logs;
mod plan;
mod receiver;
mod retry;
pub mod sign;
mod wake;

pub use address::AddressError;
pub use announcement::{Announcement, Target, event_name, message_id};
pub use deliver::{Deliverer, DelivererConfig};
pub use plan::{FOLLOWER, Planner};
pub use receiver::{Policy, URL_LENGTH_MAX, UrlError, validate_url};
pub use retry::{RETRY_AFTER_MAX, RetrySchedule};
pub use sign::generate_secret;
pub use wake::Wake;
