//! The testkit tested against the real servers it starts.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

mod chain;
mod http;
mod servers;
