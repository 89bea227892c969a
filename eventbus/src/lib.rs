//! How the ledger's events reach those who derive something from them, and how commands reach the ledger.
//!
//! Postgres is the truth, NATS announces. The [`Relay`] publishes what was committed to a JetStream stream, in order of
//! position; a [`Follower`] applies it to one handler and moves its checkpoint in the same transaction. Which events
//! there are, NATS is never believed: a batch is checked against the log before it is applied, and a hole, a stale or
//! foreign message or silence makes the follower read the log itself. So the loss of a message, a stream or the whole of
//! NATS costs latency, never data, and every handler sees every position exactly once and in order. (What an event says is
//! taken from the message: who may write to NATS is trusted, see ADR 0011.)
//!
//! [`commands`] carries commands the other way, from those who observe to the write side, at least once.
//!
//! What is deliberately absent: no event is decoded here (payloads are JSON), no handler knows NATS, nothing waits for
//! NATS to commit, and there is no table for what was published: the stream itself says that.

mod backoff;
mod bus;
pub mod checkpoint;
pub mod commands;
mod error;
mod follower;
pub mod log;
mod pull;
mod relay;
mod signal;
mod streams;
pub mod subjects;
mod transaction;

pub use bus::Bus;
pub use commands::{Acker, CommandConsumer, CommandDelivery, CommandMessage, ObserveDeposit, ObserveUnmatchedDeposit};
pub use error::BusError;
pub use follower::{EventHandler, Follower, FollowerStatus, HandlerError};
pub use relay::Relay;
pub use signal::AppendSignal;
pub use transaction::begin;
