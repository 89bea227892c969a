//! The relay announces committed events to NATS, in order of position.
//!
//! One relay a ledger leads, by an advisory lock on a connection of its own. It reads through that same connection, so it
//! cannot read without the lock. What it published before it noticed a loss is fenced by JetStream: each message says
//! which sequence must be the last before it, so of two relays one is refused, and the stream is in order whoever leads.
//!
//! Where to go on is what the stream's last message says. There is no table for it, and no promise that everything is
//! announced: when a stream is new, lost or far behind, the relay goes on at the head, and followers read what they miss.

mod leader;
mod publish;
mod run;

pub use run::Relay;
