//! EVM keys and addresses, BIP-44 `m/44'/60'/0'/0/i`. The only folder of this crate that names `ethers`.

mod addresses;
mod signer;

use bip32::{DerivationPath, XPrv};

pub use addresses::EvmAddresses;
pub use signer::{EvmSigner, SignError, SignedTransaction};

use crate::deriver::DeriveError;
use crate::seed::Seed;

/// Parent of every address of ours: coin 60, first account, external chain.
const PARENT_PATH: &str = "m/44'/60'/0'/0";

fn parent_key(seed: &Seed) -> Result<XPrv, DeriveError> {
    let path: DerivationPath = PARENT_PATH.parse()?;
    let root = seed.root().clone();
    Ok(path.iter().try_fold(root, |key, step| key.derive_child(step))?)
}
