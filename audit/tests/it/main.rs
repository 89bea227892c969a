//! Tests of the audit.
#![allow(clippy::unwrap_used, reason = "tests")]

mod reconcile;
