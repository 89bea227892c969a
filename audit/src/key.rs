//! The key that signs checkpoints, and the one that checks them.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::SigningKey;
use signed_note::{Note, StandardSigner, StandardVerifier, Verifier as _, VerifierList, new_ed25519_verifier_key};
use tlog_tiles::{Checkpoint, Hash};
use wopay_vault::{MasterKey, purpose};
use zeroize::Zeroizing;

use crate::checkpoint::{CheckpointError, SignedCheckpoint};

/// C2SP signed-note's number for Ed25519.
const ED25519: u8 = 1;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The origin, which is also the key's name.
    #[error("an origin must not be empty and holds no white space and no '+'")]
    Origin,
    /// The text of a public key.
    #[error("not a public key of a signed note (name+id+base64)")]
    Malformed(#[source] signed_note::VerifierError),
    /// The library does not take its own form.
    #[error("the signing key is not accepted")]
    Signer(#[source] signed_note::SignerError),
}

/// Signs checkpoints of one log. Belongs to the installation: it is derived from the master key.
#[derive(Clone)]
pub struct AuditKey {
    signer: StandardSigner,
    public: PublicKey,
}

impl AuditKey {
    /// The key of the log named `origin`.
    ///
    /// # Errors
    /// The origin cannot be a key's name.
    pub fn derive(master: &MasterKey, origin: &str) -> Result<Self, KeyError> {
        Self::from_seed(&master.subkey(purpose::AUDIT).signing_seed(), origin)
    }

    /// The key of a 32-byte Ed25519 seed.
    ///
    /// # Errors
    /// The origin cannot be a key's name.
    pub fn from_seed(seed: &[u8; 32], origin: &str) -> Result<Self, KeyError> {
        if !signed_note::is_key_name_valid(origin) {
            return Err(KeyError::Origin);
        }
        let verifying = SigningKey::from_bytes(seed).verifying_key();
        let public: PublicKey = new_ed25519_verifier_key(origin, &verifying).parse()?;
        let encoded = Zeroizing::new([&[ED25519], seed.as_slice()].concat());
        let secret = Zeroizing::new(format!(
            "PRIVATE+KEY+{origin}+{:08x}+{}",
            public.verifier.key_id(),
            Zeroizing::new(BASE64_STANDARD.encode(encoded.as_slice())).as_str(),
        ));
        Ok(Self { signer: StandardSigner::new(&secret).map_err(KeyError::Signer)?, public })
    }

    /// What checks this key's signatures.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a tree head. Whether it may be signed is for the caller to know.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`]: this is no tree head.
    pub fn sign(&self, size: i64, root: Hash) -> Result<SignedCheckpoint, CheckpointError> {
        let malformed = || CheckpointError::Malformed;
        let tree_size = u64::try_from(size).map_err(|_| malformed())?;
        let head = Checkpoint::new(self.public.origin(), tree_size, root, "").map_err(|_| malformed())?;
        let mut note = Note::new(&head.to_bytes(), &[]).map_err(|_| malformed())?;
        note.add_sigs(&[&self.signer]).map_err(|_| malformed())?;
        let note = String::from_utf8(note.to_bytes()).map_err(|_| malformed())?;
        Ok(SignedCheckpoint { origin: self.public.origin().to_owned(), size, root, note })
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditKey({})", self.public)
    }
}

/// A public key as text, `origin+id+base64`: the form of C2SP signed-note and of Go's checksum database.
#[derive(Clone)]
pub struct PublicKey {
    verifier: StandardVerifier,
    text: String,
}

impl PublicKey {
    /// The log it belongs to.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.verifier.name()
    }

    /// What the library checks a note against.
    pub(crate) fn list(keys: &[Self]) -> VerifierList {
        VerifierList::new(keys.iter().map(|key| Box::new(key.verifier.clone()) as _).collect())
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let verifier = StandardVerifier::new(text.trim()).map_err(KeyError::Malformed)?;
        Ok(Self { verifier, text: text.trim().to_owned() })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
