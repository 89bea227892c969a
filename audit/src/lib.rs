//! What auditors get: a Merkle log over all events with signed checkpoints, proofs that verify offline, and a verifier
//! that recomputes everything from the events.
//!
//! It shares no code with the read side: who checks the books does not ask those who keep them.

pub mod reconcile;
pub mod replay;
pub mod what_if;
