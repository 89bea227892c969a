//! Authenticated encryption of one value.

use std::fmt;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use rand::RngCore;
use zeroize::Zeroizing;

use crate::key::{KeyId, VaultKey};

/// First byte of everything sealed: how the rest is laid out. 1: 96-bit nonce, then AES-256-GCM's ciphertext and tag.
const LAYOUT: u8 = 1;
const NONCE_BYTES: usize = 12;
const HEADER_BYTES: usize = 1 + NONCE_BYTES;

/// What was sealed does not open: its bytes or what they are bound to were altered, or the key is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes, or what they are bound to, are not what was sealed")]
pub struct Tampered;

/// Seals values under one key, each bound to a context: the same bytes do not open in another context.
///
/// Nonces are random, so one key is good for about 2^32 values.
#[derive(Clone)]
pub struct Sealer {
    cipher: Aes256Gcm,
    key_id: KeyId,
}

impl Sealer {
    /// A sealer under the sealing key that `key` derives.
    #[must_use]
    pub fn new(key: &VaultKey) -> Self {
        let bytes = key.derive("sealing");
        Self { cipher: Aes256Gcm::new(bytes.as_slice().into()), key_id: key.id() }
    }

    /// Fingerprint of the key; store it beside what is sealed.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Seals `plaintext` (at most 64 GiB, far above what this crate stores), bound to `context`.
    #[must_use]
    pub fn seal(&self, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let payload = Payload { msg: plaintext, aad: context };
        let ciphertext = self.cipher.encrypt(Nonce::from_slice(&nonce), payload);
        let ciphertext = ciphertext.expect("AES-GCM fails only above 64 GiB");
        let mut sealed = Vec::with_capacity(HEADER_BYTES + ciphertext.len());
        sealed.push(LAYOUT);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        sealed
    }

    /// Opens what [`seal`](Self::seal) gave for the same key and context.
    ///
    /// # Errors
    /// Anything differs: a byte, the context, the key.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Tampered> {
        let (header, ciphertext) = sealed.split_at_checked(HEADER_BYTES).ok_or(Tampered)?;
        let (layout, nonce) = header.split_at(1);
        if layout != [LAYOUT] {
            return Err(Tampered);
        }
        let payload = Payload { msg: ciphertext, aad: context };
        let plaintext = self.cipher.decrypt(Nonce::from_slice(nonce), payload).map_err(|_| Tampered)?;
        Ok(Zeroizing::new(plaintext))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({})", self.key_id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn opens_only_what_was_sealed_in_its_context(
            plaintext in prop::collection::vec(any::<u8>(), 0..200),
            context in prop::collection::vec(any::<u8>(), 0..60),
            other in prop::collection::vec(any::<u8>(), 0..60),
            flip in any::<(prop::sample::Index, u8)>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let sealer = Sealer::new(&VaultKey::generate());
            let sealed = sealer.seal(&context, &plaintext);
            let opened = sealer.open(&context, &sealed).unwrap();
            prop_assert_eq!(opened.as_slice(), plaintext.as_slice());
            prop_assert_ne!(&sealer.seal(&context, &plaintext), &sealed, "nonces never repeat");

            let mut flipped = sealed.clone();
            flipped[flip.0.index(sealed.len())] ^= flip.1.max(1);
            prop_assert_eq!(sealer.open(&context, &flipped), Err(Tampered));
            prop_assert_eq!(sealer.open(&context, &sealed[..cut.index(sealed.len())]), Err(Tampered));
            if other != context {
                prop_assert_eq!(sealer.open(&other, &sealed), Err(Tampered));
            }
            prop_assert_eq!(Sealer::new(&VaultKey::generate()).open(&context, &sealed), Err(Tampered));
        }
    }
}
