//! The vault against a real Postgres.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

mod forgetting;
mod vault;
