//! The write side against a real Postgres and a real NATS.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

mod access;
mod addresses;
mod ambiguity;
mod atomicity;
mod chains;
mod conflicts;
mod framework;
mod idempotency;
mod inbox;
mod merchants;
mod order;
mod outages;
mod reassigned;
mod support;
mod unmatched;
mod versions;
