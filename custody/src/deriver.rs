//! Addresses of every chain family from one seed.

use std::fmt;
use std::ops::Range;

use wopay_domain::ChainFamily;

use crate::evm::EvmAddresses;
use crate::solana::SolanaAddresses;

/// Which address of a family: the last step of its derivation path, below 2^31 (BIP-32's hardened indexes begin there).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressIndex(u32);

impl AddressIndex {
    /// How many there are.
    pub const COUNT: u32 = 1 << 31;

    /// The index, unless it is 2^31 or above.
    #[must_use]
    pub const fn new(index: u32) -> Option<Self> {
        if index < Self::COUNT { Some(Self(index)) } else { None }
    }

    /// The bare number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for AddressIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why no address could be derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeriveError {
    /// 2^31 and more are not indexes.
    #[error("address index {0} is beyond the last one, 2^31 - 1")]
    Index(u32),
    /// The seed has no key at this path. So rare (1 in 2^127) that it rather means broken hardware.
    #[error("the wallet has no key at this path")]
    Path(#[from] bip32::Error),
}

/// Derives the deposit addresses of one family; cheap to clone. Gives out no key. (Whether it holds one is the family's
/// matter: EVM addresses come from a public key, Solana's cannot.)
#[derive(Clone, Debug)]
pub enum AddressDeriver {
    /// Addresses of every EVM chain.
    Evm(EvmAddresses),
    /// Addresses of Solana.
    Solana(SolanaAddresses),
}

impl AddressDeriver {
    /// The family whose addresses these are.
    #[must_use]
    pub const fn family(&self) -> ChainFamily {
        match self {
            Self::Evm(_) => ChainFamily::Evm,
            Self::Solana(_) => ChainFamily::Solana,
        }
    }

    /// The address at an index, in the family's canonical text.
    ///
    /// # Errors
    /// [`DeriveError::Path`], practically never.
    pub fn address(&self, index: AddressIndex) -> Result<String, DeriveError> {
        match self {
            Self::Evm(addresses) => addresses.address(index),
            Self::Solana(addresses) => Ok(addresses.address(index)),
        }
    }

    /// The addresses of a range of indexes, in its order.
    ///
    /// # Errors
    /// As [`address`](Self::address), or the range reaches beyond the last index.
    pub fn addresses(&self, range: Range<u32>) -> Result<Vec<String>, DeriveError> {
        range.map(|index| self.address(AddressIndex::new(index).ok_or(DeriveError::Index(index))?)).collect()
    }
}
