//! Secrets that the ledger may refer to but never hold: API and webhook secrets, merchants' profiles.
//!
//! One master key serves the whole installation: [`MasterKey`] derives a key for each purpose (HKDF-SHA256), so that what
//! leaks of one purpose says nothing of another. A [`Vault`] seals values with AES-256-GCM into the table `secrets`; each
//! row's reference, subject and kind are authenticated with it, so a row that was altered, renamed or swapped with another
//! does not open.
//!
//! Values are sealed under a random key of their subject's own, in `subject_keys`, which is sealed under the master key.
//! [`Vault::forget`] destroys that key: nothing of the subject opens again, in no copy of `secrets`, while the events that
//! refer to it still verify. See docs/decisions/0019-forgetting.md.
//!
//! What is deliberately absent: no environment is read (the app knows where keys come from), no key and no opened value
//! is ever printed, and a wrong key is told from a damaged row: see [`VaultError`].
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test reports by panicking"))]

mod error;
mod key;
mod key_file;
mod opened;
mod seal;
mod store;
mod subject;
mod vault;

pub use error::{KeyError, KeyFileError, Sealed, VaultError};
pub use key::{KeyId, MasterKey, VaultKey, purpose};
pub use key_file::FileAccess;
pub use opened::OpenedSecret;
pub use seal::{Sealer, Tampered};
pub use vault::{Forgotten, PLAINTEXT_BYTES_MAX, Resealed, Vault};
