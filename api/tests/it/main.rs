//! The API against a real Postgres.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

mod audit;
mod authentication;
mod books;
mod create;
mod deposits;
mod edge;
mod feed;
mod fuzz;
mod guarded;
mod http;
mod ledger;
mod observed;
mod openapi;
mod payments;
mod refusals;
mod support;
