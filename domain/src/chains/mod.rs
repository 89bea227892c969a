//! What is changed of a chain while the gateway runs: that it is added, tokens that are added to it, and pauses.
//!
//! The configuration says which chains there are from the start, what they accept, and how each is reached; the aggregate
//! `chain` (its id is the chain's name) says what was added since and what takes no new payments at the moment. A pause never touches
//! money on its way: what is watched goes on being watched, and open payments go on.
//!
//! What is deliberately absent: endpoints, whose addresses may carry keys and stay in the configuration, and a way to take
//! a chain or a token away again: payments in it may be open for ever. It is paused instead.

mod accepted;
mod aggregate;
mod command;
mod decide;
mod error;
mod event;
mod evolve;
mod state;
#[cfg(test)]
mod tests;

pub use accepted::{AcceptedChain, ChainDiffers};
pub use command::{AddChain, AddToken, ChainCommand};
pub use decide::{REASON_CHARS_MAX, SYMBOL_BYTES_MAX, decide, is_symbol};
pub use error::ChainError;
pub use event::{ChainAdded, ChainEvent, ChainPaused, ChainResumed, TokenAdded, TokenPaused, TokenResumed};
pub use evolve::evolve;
pub use state::{AddedToken, Chain, Pause};

/// `aggregate_type` of chains.
pub const AGGREGATE_TYPE: &str = "chain";
