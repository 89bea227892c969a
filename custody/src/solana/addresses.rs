//! Solana deposit addresses.

use std::fmt;

use ed25519_dalek::SigningKey;
use slip10_ed25519::derive_ed25519_private_key;
use zeroize::Zeroizing;

use crate::deriver::AddressIndex;
use crate::seed::Seed;

/// Coin type 501 of SLIP-0044.
const PURPOSE: u32 = 44;
const COIN: u32 = 501;
const CHANGE: u32 = 0;

/// Derives Solana addresses. Ed25519 has no public derivation (every step of SLIP-0010 is hardened), so unlike its EVM
/// counterpart this holds the seed, and belongs where the wallet is open.
#[derive(Clone)]
pub struct SolanaAddresses {
    seed: Zeroizing<[u8; 64]>,
}

impl SolanaAddresses {
    pub(crate) fn new(seed: &Seed) -> Self {
        Self { seed: seed.bip39_seed() }
    }

    /// The address at an index: the base58 of its public key. An account of its own for each.
    #[must_use]
    pub fn address(&self, index: AddressIndex) -> String {
        // The crate hardens every step by itself.
        let path = [PURPOSE, COIN, index.get(), CHANGE];
        let secret = Zeroizing::new(derive_ed25519_private_key(self.seed.as_slice(), &path));
        let key = SigningKey::from_bytes(&secret);
        bs58::encode(key.verifying_key().as_bytes()).into_string()
    }
}

impl fmt::Debug for SolanaAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SolanaAddresses")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABANDON: &str =
        "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    #[test]
    fn known_words_give_the_addresses_that_solana_wallets_show() {
        let addresses = SolanaAddresses::new(&Seed::from_words(ABANDON).unwrap());
        let address = |index| addresses.address(AddressIndex::new(index).unwrap());
        // As `solana-keygen pubkey 'prompt://?key=0/0'` and Phantom derive it from these words.
        assert_eq!(address(0), "HAgk14JpMQLgt6rVgv7cBQFJWFto5Dqxi472uT3DKpqk");
        assert_ne!(address(1), address(0));
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", SolanaAddresses::new(&Seed::generate())), "SolanaAddresses");
    }
}
