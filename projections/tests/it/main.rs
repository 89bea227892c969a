//! The read side on a real Postgres.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

mod books;
mod check;
mod feed;
mod follower;
mod merchants;
mod moments;
mod odd;
mod odd_pages;
mod payments;
mod poison;
mod property;
mod rebuild;
mod reorganized;
mod reports;
mod support;
mod transactions;
mod upgrade;
mod versions;
mod wide;
