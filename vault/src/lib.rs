//! Secrets that the ledger may refer to but never hold: API and webhook secrets, merchants' profiles.
//!
//! One master key serves the whole installation: [`MasterKey`] derives a key for each purpose (HKDF-SHA256), so that what
//! leaks of one purpose says nothing of another. A [`Vault`] seals values with AES-256-GCM into the table `secrets`; each
//! row's reference, subject and kind are authenticated with it, so a row that was altered, renamed or swapped with another
//! does not open. Deleting a subject's rows forgets a person while the events still verify.
//!
//! What is deliberately absent: no environment is read (the app knows where keys come from), no key and no opened value
//! is ever printed, and a wrong key is told from a damaged row: see [`VaultError`].
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test reports by panicking"))]

mod error;
mod key;
mod key_file;
mod seal;
mod store;
mod vault;

pub use error::{KeyError, KeyFileError, VaultError};
pub use key::{KeyId, MasterKey, VaultKey, purpose};
pub use key_file::FileAccess;
pub use seal::{Sealer, Tampered};
pub use vault::{OpenedSecret, PLAINTEXT_BYTES_MAX, Vault};
