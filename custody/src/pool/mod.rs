//! Addresses derived ahead of need, so that a payment never waits for a derivation and an API process never needs a key.

mod filler;
mod store;
mod verify;

use wopay_domain::ChainFamily;

pub use filler::PoolFiller;
pub(crate) use verify::verify;

use crate::deriver::{AddressIndex, DeriveError};

/// Why the pool is not filled. All but [`Database`](Self::Database) need a person.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// A stored address is not the one that this wallet derives: the seed is another, or the row was altered. Money sent
    /// to such an address may be out of reach, so nothing is derived any more.
    #[error(
        "{family} address {index} is stored as {stored}, this wallet derives {derived}: it is another wallet, or the row was altered"
    )]
    WrongWallet {
        /// The family.
        family: ChainFamily,
        /// Which address.
        index: AddressIndex,
        /// The address in the pool.
        stored: String,
        /// The address that this wallet has there.
        derived: String,
    },
    /// Rows are missing: positions in the pool would no longer be derivation indexes.
    #[error("the {family} pool holds {rows} addresses, its last index is {last}: rows are missing")]
    Gap {
        /// The family.
        family: ChainFamily,
        /// How many rows there are.
        rows: i64,
        /// The highest index.
        last: i64,
    },
    /// All 2^31 addresses of the account are derived.
    #[error("every {0} address of the wallet's account is in use")]
    Exhausted(ChainFamily),
    /// An address could not be derived.
    #[error("cannot derive an address")]
    Derive(#[from] DeriveError),
    /// The derivation thread panicked or the runtime is shutting down.
    #[error("the derivation did not end")]
    Interrupted(#[from] tokio::task::JoinError),
    /// The database failed; trying again may help.
    #[error("the address pool cannot be reached")]
    Database(#[from] sqlx::Error),
}
