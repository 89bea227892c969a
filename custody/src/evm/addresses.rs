//! EVM deposit addresses from an extended public key.

use std::fmt;

use bip32::{ChildNumber, PublicKey, XPub};
use ethers::types::Address;
use ethers::utils::public_key_to_address;
use k256::ecdsa::VerifyingKey;
use k256::elliptic_curve::PrimeField;
use k256::elliptic_curve::ops::MulByGenerator;
use k256::{FieldBytes, ProjectivePoint, Scalar};

use super::parent_key;
use crate::deriver::{AddressIndex, DeriveError};
use crate::seed::Seed;

/// Derives EVM addresses, one child derivation each. Holds the parent's extended public key and nothing private: who
/// takes it can list the addresses and spend from none.
#[derive(Clone)]
pub struct EvmAddresses {
    parent: XPub,
}

impl EvmAddresses {
    pub(crate) fn new(seed: &Seed) -> Result<Self, DeriveError> {
        Ok(Self { parent: parent_key(seed)?.public_key() })
    }

    /// The address at an index: lower-case hex with `0x`.
    ///
    /// # Errors
    /// [`DeriveError::Path`], practically never.
    pub fn address(&self, index: AddressIndex) -> Result<String, DeriveError> {
        Ok(format!("{:#x}", self.derive(index)?))
    }

    /// BIP-32's public child derivation, `parent + tweak·G`. `XPub::derive_child` gives the same (a test says so) at
    /// half the speed, as it multiplies without the generator's precomputed table.
    fn derive(&self, index: AddressIndex) -> Result<Address, DeriveError> {
        let parent = self.parent.public_key();
        let child = ChildNumber::new(index.get(), false)?;
        let (tweak, _) = parent.derive_tweak(&self.parent.attrs().chain_code, child)?;
        let tweak: Option<Scalar> = Scalar::from_repr(FieldBytes::from(tweak)).into();
        let tweak = tweak.ok_or(bip32::Error::Crypto)?;
        let point = ProjectivePoint::from(*parent.as_affine()) + ProjectivePoint::mul_by_generator(&tweak);
        let key = VerifyingKey::from_affine(point.to_affine()).map_err(|_| bip32::Error::Crypto)?;
        Ok(public_key_to_address(&key))
    }
}

impl fmt::Debug for EvmAddresses {
    /// Not the key: with it anybody can tell which addresses belong together.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EvmAddresses")
    }
}

#[cfg(test)]
mod tests {
    use ethers::utils::to_checksum;

    use super::*;

    const JUNK: &str = "test test test test test test test test test test test junk";
    const ABANDON: &str =
        "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    fn addresses(words: &str) -> EvmAddresses {
        EvmAddresses::new(&Seed::from_words(words).unwrap()).unwrap()
    }

    #[test]
    fn known_words_give_the_known_addresses() {
        let expected = [
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
            "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
            "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
        ];
        let addresses_of_junk = addresses(JUNK);
        for (index, expected) in (0..).zip(expected) {
            let index = AddressIndex::new(index).unwrap();
            assert_eq!(to_checksum(&addresses_of_junk.derive(index).unwrap(), None), expected);
            assert_eq!(addresses_of_junk.address(index).unwrap(), expected.to_lowercase());
        }
        let first = addresses(ABANDON).address(AddressIndex::new(0).unwrap()).unwrap();
        assert_eq!(first, "0x9858effd232b4033e47d90003d41ec34ecaeda94");
    }

    #[test]
    fn the_fast_derivation_is_that_of_bip32() {
        let fast = EvmAddresses::new(&Seed::generate()).unwrap();
        let last = AddressIndex::COUNT - 1;
        for index in (0..100).chain([1 << 16, 1 << 24, last - 1, last]) {
            let slow = fast.parent.derive_child(ChildNumber::new(index, false).unwrap()).unwrap();
            let index = AddressIndex::new(index).unwrap();
            assert_eq!(fast.derive(index).unwrap(), public_key_to_address(slow.public_key()));
        }
        assert_eq!(AddressIndex::new(last + 1), None);
    }
}
