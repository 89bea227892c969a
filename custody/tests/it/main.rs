//! The wallet against a real Postgres, and against another implementation of BIP-39, BIP-32 and BIP-44.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

mod independent;
mod key_store;
mod pool;
mod pool_crashes;
mod solana_pool;
