//! The wallet: the one crate that knows keys.
//!
//! A [`KeyStore`] keeps one BIP-39 seed, sealed under the master key. From it come [`AddressDeriver`]s and signers. A [`PoolFiller`] derives deposit addresses ahead of need
//! into the table `address_pool`, from which API processes take them without ever holding a key: idx 0, 1, 2 … without a
//! gap, each once, whatever crashes.
//!
//! What is deliberately absent: no private key leaves this crate, only signatures do; no seed is made where money could
//! already lie on another one ([`KeyStoreError::SeedLost`]); no address is handed out here (`commands` owns the cursor).
//! `ethers` is named in the folder `evm` only.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test reports by panicking"))]

mod deriver;
pub mod evm;
mod key_store;
mod pool;
mod seed;
pub mod solana;

pub use deriver::{AddressDeriver, AddressIndex, DeriveError};
pub use key_store::{KeyStore, KeyStoreError, WhenMissing};
pub use pool::{PoolError, PoolFiller};
pub use seed::{MnemonicError, WalletFingerprint};
