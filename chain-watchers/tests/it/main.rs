//! The watcher against real chains (anvil, surfpool), a real Postgres and a real NATS. Only what a real node cannot be made to do
//! (HTML, lies) comes from a proxy in front of it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod addressed;
mod backfill;
mod balances;
mod bsc;
mod contracts;
mod deposits;
mod eip7708;
mod killed;
mod lies;
mod nodes;
mod odd;
mod outages;
mod outbox;
mod pool;
mod reorgs;
mod simulated;
mod solana;
mod solana_addresses;
mod support;
mod tokens;
mod unknown;
