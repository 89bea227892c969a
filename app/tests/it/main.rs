//! The binary as a whole, as its users run it: real Postgres, real NATS, real chains, real receivers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests stop at the first surprise")]
#![allow(unreachable_pub, reason = "a test binary has no public interface")]

mod access;
mod added_chain;
mod audit;
mod chains;
mod cli;
mod crash;
mod forget;
mod gateway;
mod house;
mod nodes;
mod odd;
mod payment;
mod private;
mod projections;
mod reconcile;
mod refund;
mod roles;
mod shop;
mod solana;
