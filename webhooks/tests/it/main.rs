//! Webhooks against a real Postgres and real HTTP receivers.
#![allow(clippy::unwrap_used, reason = "tests report by panicking")]

mod crashes;
mod fairness;
mod messages;
mod planning;
mod refusals;
mod retries;
mod world;
