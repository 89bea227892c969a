//! What the tests of every crate share. Nothing here is a mock: a database of one's own in a real Postgres
//! ([`database`]), a real nats-server ([`nats`]), a real EVM chain ([`anvil`]), a real
//! Solana network ([`surfpool`]), a real HTTP receiver ([`http_receiver`]), and
//! for what no real node can be made to do a proxy in front of one ([`RpcProxy`]). Everything dies with the test process, however that ends.
//!
//! Only ever a dev-dependency. A helper that cannot do its work panics and says why: in a test that is the report.
#![allow(clippy::unwrap_used, reason = "a test helper reports by panicking")]

mod anvil;
mod contracts;
mod database;
mod eventually;
mod http_receiver;
mod nats;
mod rpc_proxy;
mod surfpool;
mod tools;

pub use anvil::{Anvil, AnvilOptions, Mining, anvil};
pub use contracts::{Call, Contract, Receipt, Token, TokenKind};
pub use database::{TestDatabase, database, empty_database, lift_protection};
pub use eventually::eventually;
pub use http_receiver::{Answer, HttpReceiver, Received, http_receiver};
pub use nats::{TestNats, nats, nats_with_password};
pub use rpc_proxy::{BATCH, Instead, RpcProxy};
pub use surfpool::{SLOT_MS, SplToken, Surfpool, TokenProgram, surfpool};
