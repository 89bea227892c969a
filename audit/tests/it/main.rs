//! Tests of the audit.
#![allow(clippy::unwrap_used, reason = "tests")]

mod export;
mod hostile;
mod odd;
mod proofs;
mod reconcile;
mod replay;
mod seal;
mod sealed;
mod story;
mod verify;
mod what_if;
