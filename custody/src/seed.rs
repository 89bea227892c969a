//! The seed from which every key of the wallet comes.

use std::fmt;

use bip32::XPrv;
use bip39::{Language, Mnemonic};
use rand::TryRngCore;
use rand::rngs::OsRng;
use zeroize::Zeroizing;

/// 256 bits: 24 words.
const ENTROPY_BYTES: usize = 32;

/// Why words are not a mnemonic. Never quotes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MnemonicError {
    /// Not 12, 15, 18, 21 or 24 words.
    #[error("a mnemonic has 12, 15, 18, 21 or 24 words, got {0}")]
    WordCount(usize),
    /// A word is not in the English BIP-39 list.
    #[error("word {0} of the mnemonic is not in the English BIP-39 list")]
    UnknownWord(usize),
    /// Every word is known, the checksum does not fit: a word is mistaken or out of place.
    #[error("the mnemonic's checksum is wrong: a word is mistaken or out of place")]
    Checksum,
}

impl From<bip39::Error> for MnemonicError {
    fn from(error: bip39::Error) -> Self {
        match error {
            bip39::Error::BadWordCount(words) => Self::WordCount(words),
            bip39::Error::UnknownWord(position) => Self::UnknownWord(position + 1),
            bip39::Error::BadEntropyBitCount(_)
            | bip39::Error::InvalidChecksum
            | bip39::Error::AmbiguousLanguages(_) => Self::Checksum,
        }
    }
}

/// BIP-32 fingerprint of a wallet's root key, 8 hex digits, as hardware wallets show it. Reveals nothing of the seed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct WalletFingerprint([u8; 4]);

impl fmt::Display for WalletFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for WalletFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WalletFingerprint({self})")
    }
}

/// A BIP-39 seed without passphrase and its BIP-32 root key. Words and key are wiped from memory when dropped.
#[derive(Clone)]
pub(crate) struct Seed {
    mnemonic: Mnemonic,
    root: XPrv,
}

impl Seed {
    /// A new seed of 256 bits from the operating system's random source.
    pub(crate) fn generate() -> Self {
        let mut entropy = Zeroizing::new([0; ENTROPY_BYTES]);
        // As good as proven: without the system's random source no TLS connection to the database would stand either.
        OsRng.try_fill_bytes(entropy.as_mut_slice()).expect("the operating system gives random bytes");
        Self::from_entropy(entropy.as_slice()).expect("32 bytes are 24 words")
    }

    /// The seed of BIP-39 entropy (16, 20, 24, 28 or 32 bytes).
    pub(crate) fn from_entropy(entropy: &[u8]) -> Result<Self, MnemonicError> {
        Mnemonic::from_entropy_in(Language::English, entropy).map(Self::new).map_err(Into::into)
    }

    /// The seed of English words.
    pub(crate) fn from_words(words: &str) -> Result<Self, MnemonicError> {
        Mnemonic::parse_in(Language::English, words).map(Self::new).map_err(Into::into)
    }

    fn new(mnemonic: Mnemonic) -> Self {
        let seed = Zeroizing::new(mnemonic.to_seed_normalized(""));
        let root = XPrv::new(seed.as_slice()).expect("64 bytes give a root key but for 1 seed in 2^127");
        Self { mnemonic, root }
    }

    pub(crate) const fn root(&self) -> &XPrv {
        &self.root
    }

    /// The 64 bytes that BIP-39 makes of the words, without a passphrase.
    pub(crate) fn bip39_seed(&self) -> Zeroizing<[u8; 64]> {
        Zeroizing::new(self.mnemonic.to_seed_normalized(""))
    }

    pub(crate) fn fingerprint(&self) -> WalletFingerprint {
        WalletFingerprint(self.root.public_key().fingerprint())
    }

    pub(crate) fn entropy(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.mnemonic.to_entropy())
    }

    pub(crate) fn words(&self) -> Zeroizing<String> {
        Zeroizing::new(self.mnemonic.to_string())
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seed({})", self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BIP-39's first test mnemonic; its fingerprint is shown by every hardware wallet that imports it.
    const ABANDON: &str =
        "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    #[test]
    fn known_words_give_the_known_wallet() {
        let seed = Seed::from_words(ABANDON).unwrap();
        assert_eq!(seed.fingerprint().to_string(), "73c5da0a");
        assert_eq!(seed.entropy().as_slice(), [0; 16]);
        assert_eq!(seed.words().as_str(), ABANDON);
        let longest = Seed::from_entropy(&[0; 32]).unwrap();
        assert_eq!(longest.words().as_str(), format!("{}art", "abandon ".repeat(23)));
    }

    #[test]
    fn new_seeds_have_24_words_and_survive_their_entropy() {
        let (seed, other) = (Seed::generate(), Seed::generate());
        assert_eq!(seed.words().split(' ').count(), 24);
        assert_ne!(seed.fingerprint(), other.fingerprint());
        assert_eq!(Seed::from_entropy(&seed.entropy()).unwrap().fingerprint(), seed.fingerprint());
        assert_eq!(Seed::from_words(&seed.words()).unwrap().fingerprint(), seed.fingerprint());
    }

    #[test]
    fn what_is_no_mnemonic_is_refused_without_being_quoted() {
        let cases = [
            ("", MnemonicError::WordCount(0)),
            ("abandon about", MnemonicError::WordCount(2)),
            (&ABANDON.replace("about", "abandon"), MnemonicError::Checksum),
            (&ABANDON.replace("about", "secretword"), MnemonicError::UnknownWord(12)),
        ];
        for (words, expected) in cases {
            let error = Seed::from_words(words).unwrap_err();
            assert_eq!(error, expected, "{words}");
            assert!(!format!("{error} {error:?}").contains("secretword"));
        }
    }

    #[test]
    fn debug_shows_no_words() {
        let shown = format!("{:?}", Seed::from_words(ABANDON).unwrap());
        assert_eq!(shown, "Seed(73c5da0a)");
    }
}
