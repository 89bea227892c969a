//! What can go wrong, as types.

use std::fmt;
use std::path::PathBuf;

use uuid::Uuid;

use crate::key::KeyId;

/// Why a value could not be stored or opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Nothing is stored under this reference, or it was deleted.
    #[error("no secret is stored under {0}")]
    NotFound(Uuid),
    /// It belonged to a subject whose key was destroyed: nobody can open it, nor store anything for that subject.
    #[error("subject {0} was forgotten")]
    Forgotten(Uuid),
    /// There is no key for the subject that the row names: a part of the vault's tables was lost, or the row altered.
    #[error("secret {reference} needs the key of subject {subject}, which is not there")]
    NoSubjectKey {
        /// The row.
        reference: Uuid,
        /// Whom it belongs to.
        subject: Uuid,
    },
    /// The key of this subject is not what was stored.
    #[error("the key of subject {0} is not what was stored for it")]
    TamperedSubjectKey(Uuid),
    /// The row was sealed with another key.
    #[error("{what} was sealed with the key {expected}, this vault has the key {given}")]
    WrongKey {
        /// The row.
        what: Sealed,
        /// Fingerprint of the key that would open it, as the row says.
        expected: String,
        /// Fingerprint of the key that was tried.
        given: KeyId,
    },
    /// The row is not what was stored: bytes altered, columns altered, or swapped with another row.
    #[error("secret {0} is not what was stored under that reference")]
    Tampered(Uuid),
    /// The reference already holds another value, subject or kind.
    #[error("{0} already refers to another secret")]
    Taken(Uuid),
    /// A value of more than [`PLAINTEXT_BYTES_MAX`](crate::PLAINTEXT_BYTES_MAX).
    #[error("a secret has at most {max} bytes, got {length}")]
    TooLarge {
        /// Bytes given.
        length: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The database failed; nothing is known about the value.
    #[error("the table of secrets cannot be reached")]
    Database(#[from] sqlx::Error),
}

/// A row that needs a master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// The secret under this reference.
    Secret(Uuid),
    /// The key of this subject.
    SubjectKey(Uuid),
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(reference) => write!(f, "secret {reference}"),
            Self::SubjectKey(subject) => write!(f, "the key of subject {subject}"),
        }
    }
}

/// Why a text or file content is not a key. Never quotes what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither 64 hex digits, nor base64 of 32 bytes, nor 32 raw bytes.
    #[error("a key is 32 random bytes: 64 hex digits, their base64, or a file of exactly 32 raw bytes")]
    Malformed,
    /// All bytes are the same, so nobody drew them at random.
    #[error("a key whose bytes are all the same is no key")]
    Weak,
}

/// Why a key file could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Reading or writing failed.
    #[error("cannot {action} the key file {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Others than its owner can reach it.
    #[error("the key file {} has mode {mode:03o}: only its owner may reach it (chmod 600)", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Its content is not a key.
    #[error("the key file {} holds no key", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
}
