//! What auditors get: a Merkle log over all events with signed checkpoints, proofs that verify offline, and a verifier
//! that recomputes everything from the events.
//!
//! It shares no code with the read side: who checks the books does not ask those who keep them.

pub mod checkpoint;
mod error;
pub mod explain;
pub mod export;
mod key;
pub mod leaf;
mod proof;
pub mod query;
pub mod reconcile;
pub mod replay;
mod seal;
mod store;
mod tiles;
mod tree;
mod verify;
pub mod what_if;

pub use checkpoint::{CheckpointError, CopyError, SignedCheckpoint};
pub use error::AuditError;
pub use key::{AuditKey, KeyError, PublicKey};
pub use proof::{ConsistencyProof, InclusionProof, ProofError, Proven, check_consistency, check_proof, check_proof_of};
pub use seal::{Refusal, SealError, SealState, Sealed, Sealer, SealerOptions, SealerStatus};
pub use verify::{Finding, Problem, VerifyError, VerifyOptions, VerifyProgress, VerifyReport, verify};
