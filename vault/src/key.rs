//! Keys: one master key, and a key derived from it for each purpose.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hkdf::Hkdf;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::KeyError;

/// The purposes that a master key serves; pass one to [`MasterKey::subkey`].
pub mod purpose {
    /// Sealing rows of the table `secrets`, and digests of what must be unique without being readable.
    pub const SECRETS: &str = "secrets";
    /// Sealing the wallet seed.
    pub const CUSTODY: &str = "custody";
    /// Signing the audit log's checkpoints.
    pub const AUDIT: &str = "audit";
}

/// Separates keys of ours from whatever else the same bytes may be used for.
const SALT: &[u8] = b"wopay/v1";
const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 8;
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

type KeyBytes = Zeroizing<[u8; KEY_BYTES]>;

/// Fingerprint of a master key: 16 hex digits that reveal nothing of it. Stored beside what the key seals, so that a
/// wrong key is recognised as such.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; KEY_ID_BYTES]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The installation's key, from which every other is derived. 32 bytes, wiped from memory when dropped.
#[derive(Clone)]
pub struct MasterKey {
    bytes: KeyBytes,
    id: KeyId,
}

impl MasterKey {
    /// A new key from the operating system's random source.
    #[must_use]
    pub fn generate() -> Self {
        Self::from_key_bytes(random())
    }

    /// A key as 64 hex digits or as base64 of 32 bytes; white space around it is ignored.
    ///
    /// # Errors
    /// The text is neither, or its bytes are all the same.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        parse(text).map(Self::from_key_bytes)
    }

    /// A key as 64 hex digits; white space around it is ignored.
    ///
    /// # Errors
    /// The text is something else, or its bytes are all the same.
    pub fn parse_hex(text: &str) -> Result<Self, KeyError> {
        parse_hex(text.trim()).map(Self::from_key_bytes)
    }

    /// A file's content: what [`parse`](Self::parse) takes, or exactly 32 raw bytes that are not text.
    ///
    /// # Errors
    /// The content is neither. 32 printable characters are refused: they are half of a hex key, or a passphrase.
    pub fn from_content(content: &[u8]) -> Result<Self, KeyError> {
        let is_text = content.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
        match <[u8; KEY_BYTES]>::try_from(content) {
            Ok(raw) if !is_text => strong(Zeroizing::new(raw)).map(Self::from_key_bytes),
            _ => Self::parse(std::str::from_utf8(content).map_err(|_| KeyError::Malformed)?),
        }
    }

    /// The key for one [`purpose`]. It carries this key's fingerprint.
    #[must_use]
    pub fn subkey(&self, purpose: &str) -> VaultKey {
        VaultKey { bytes: derive(&self.bytes, &["purpose/", purpose]), id: self.id }
    }

    /// The fingerprint.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// 64 hex digits, for writing a key file.
    pub(crate) fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.bytes.as_slice()))
    }

    fn from_key_bytes(bytes: KeyBytes) -> Self {
        let id = key_id(&bytes);
        Self { bytes, id }
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

/// A key for one purpose. 32 bytes, wiped from memory when dropped.
#[derive(Clone)]
pub struct VaultKey {
    bytes: KeyBytes,
    id: KeyId,
}

impl VaultKey {
    /// A new key from the operating system's random source.
    #[must_use]
    pub fn generate() -> Self {
        Self::from_key_bytes(random())
    }

    /// A key as 64 hex digits; white space around it is ignored.
    ///
    /// # Errors
    /// The text is something else, or its bytes are all the same.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        parse_hex(text.trim()).map(Self::from_key_bytes)
    }

    /// A key from its bytes.
    ///
    /// # Errors
    /// They are all the same.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Result<Self, KeyError> {
        strong(Zeroizing::new(bytes)).map(Self::from_key_bytes)
    }

    /// A key from a slice that was opened from a sealed row.
    pub(crate) fn from_slice(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut key = KeyBytes::default();
        if bytes.len() != KEY_BYTES {
            return Err(KeyError::Malformed);
        }
        key.copy_from_slice(bytes);
        strong(key).map(Self::from_key_bytes)
    }

    /// Fingerprint of the master key that this key comes from, or of itself if it was not derived.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The seed of a signing key (Ed25519, say) that belongs to this key.
    #[must_use]
    pub fn signing_seed(&self) -> Zeroizing<[u8; KEY_BYTES]> {
        self.derive("signing")
    }

    /// The bytes, for sealing them under another key.
    pub(crate) fn expose(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The bytes for one use of this key; different uses get independent bytes.
    pub(crate) fn derive(&self, usage: &str) -> KeyBytes {
        derive(&self.bytes, &["use/", usage])
    }

    fn from_key_bytes(bytes: KeyBytes) -> Self {
        let id = key_id(&bytes);
        Self { bytes, id }
    }
}

impl fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VaultKey({})", self.id)
    }
}

fn random() -> KeyBytes {
    let mut bytes = KeyBytes::default();
    // As good as proven: without the system's random source no TLS connection to the database would stand either.
    OsRng.try_fill_bytes(bytes.as_mut_slice()).expect("the operating system gives random bytes");
    bytes
}

fn parse(text: &str) -> Result<KeyBytes, KeyError> {
    let text = text.trim();
    if text.len() == KEY_BYTES * 2 {
        return parse_hex(text);
    }
    let decoded = Zeroizing::new(BASE64.decode(text).map_err(|_| KeyError::Malformed)?);
    let bytes = <[u8; KEY_BYTES]>::try_from(decoded.as_slice()).map_err(|_| KeyError::Malformed)?;
    strong(Zeroizing::new(bytes))
}

fn parse_hex(text: &str) -> Result<KeyBytes, KeyError> {
    let mut bytes = KeyBytes::default();
    hex::decode_to_slice(text, bytes.as_mut_slice()).map_err(|_| KeyError::Malformed)?;
    strong(bytes)
}

fn strong(bytes: KeyBytes) -> Result<KeyBytes, KeyError> {
    if bytes.iter().all(|byte| *byte == bytes[0]) { Err(KeyError::Weak) } else { Ok(bytes) }
}

fn key_id(bytes: &KeyBytes) -> KeyId {
    let derived = derive(bytes, &["key-id"]);
    let mut id = [0; KEY_ID_BYTES];
    id.copy_from_slice(&derived[..KEY_ID_BYTES]);
    KeyId(id)
}

fn derive(bytes: &KeyBytes, info: &[&str]) -> KeyBytes {
    let mut derived = KeyBytes::default();
    let info: Vec<&[u8]> = info.iter().map(|part| part.as_bytes()).collect();
    Hkdf::<Sha256>::new(Some(SALT), bytes.as_slice())
        .expand_multi_info(&info, derived.as_mut_slice())
        .expect("32 bytes are within what HKDF-SHA256 can give (8160)");
    derived
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn hex_base64_and_raw_bytes_are_the_same_key() {
        let expected = MasterKey::parse_hex(HEX).unwrap().id();
        let raw = hex::decode(HEX).unwrap();
        let base64 = base64::engine::general_purpose::STANDARD.encode(&raw);
        let texts = [format!(" {HEX}\n"), HEX.to_uppercase(), base64.clone(), base64.trim_end_matches('=').to_owned()];
        for text in texts {
            assert_eq!(MasterKey::parse(&text).unwrap().id(), expected, "{text}");
            assert_eq!(MasterKey::from_content(text.as_bytes()).unwrap().id(), expected, "{text}");
        }
        assert_eq!(MasterKey::from_content(&raw).unwrap().id(), expected);
        let raw: [u8; 32] = raw.try_into().unwrap();
        assert_eq!(VaultKey::from_bytes(raw).unwrap().id(), expected);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let passphrase = "correct horse battery staple abc";
        assert_eq!(passphrase.len(), 32);
        for text in ["", "00", &HEX[1..], &HEX[..62], &format!("{HEX}00"), "%%%", passphrase] {
            assert_eq!(MasterKey::parse(text).unwrap_err(), KeyError::Malformed, "{text}");
            assert_eq!(MasterKey::from_content(text.as_bytes()).unwrap_err(), KeyError::Malformed, "{text}");
        }
        assert_eq!(MasterKey::from_content(&[0xff; 31]).unwrap_err(), KeyError::Malformed);
        assert_eq!(MasterKey::parse(&"00".repeat(32)).unwrap_err(), KeyError::Weak);
        assert_eq!(VaultKey::from_bytes([7; 32]).unwrap_err(), KeyError::Weak);
    }

    #[test]
    fn purposes_and_uses_have_keys_of_their_own_and_share_the_fingerprint() {
        let master = MasterKey::parse_hex(HEX).unwrap();
        let (secrets, custody) = (master.subkey(purpose::SECRETS), master.subkey(purpose::CUSTODY));
        assert_ne!(secrets.bytes, custody.bytes);
        assert_ne!(secrets.derive("a"), secrets.derive("b"));
        assert_ne!(secrets.derive("a"), custody.derive("a"));
        assert_eq!((secrets.id(), custody.id()), (master.id(), master.id()));
        assert_ne!(MasterKey::generate().id(), MasterKey::generate().id());
    }

    #[test]
    fn derivation_never_changes() {
        // What is stored today must open in every later version. Computed with Python's hmac module.
        let master = MasterKey::parse_hex(HEX).unwrap();
        assert_eq!(master.id().to_string(), "423a393aaa10a61b");
        assert_eq!(
            hex::encode(master.subkey(purpose::SECRETS).bytes.as_slice()),
            "77b1141bcb438090db929ddf21c20e7ada7d874d4e60456b1dc109a613d75aa0"
        );
    }

    #[test]
    fn debug_shows_no_key() {
        let master = MasterKey::parse_hex(HEX).unwrap();
        let shown = format!("{master:?} {:?}", master.subkey(purpose::SECRETS));
        assert!(shown.contains(&master.id().to_string()) && !shown.contains("00010203") && !shown.contains("1, 2, 3"));
    }
}
