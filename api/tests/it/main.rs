//! The API against a real Postgres.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

mod authentication;
mod create;
mod edge;
mod fuzz;
mod guarded;
mod http;
mod observed;
mod openapi;
mod payments;
mod refusals;
mod support;
