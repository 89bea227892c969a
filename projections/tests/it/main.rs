//! The read side on a real Postgres.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

mod check;
mod follower;
mod merchants;
mod payments;
mod poison;
mod property;
mod rebuild;
mod support;
mod transactions;
mod versions;
mod wide;
