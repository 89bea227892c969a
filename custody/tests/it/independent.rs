//! The same addresses from other code: `coins-bip39` and `coins-bip32`, which `ethers` brings for its own wallets.

use ethers::core::k256::ecdsa::SigningKey;
use ethers::signers::coins_bip39::{English, Mnemonic};
use ethers::utils::secret_key_to_address;

/// The first `count` EVM addresses of a mnemonic, lower-case hex.
pub(crate) fn evm_addresses(words: &str, count: u32) -> Vec<String> {
    let mnemonic = Mnemonic::<English>::new_from_phrase(words).unwrap();
    let parent = mnemonic.derive_key("m/44'/60'/0'/0", None).unwrap();
    let address = |index: u32| {
        let child = parent.derive_path([index].as_slice()).unwrap();
        let key: &SigningKey = child.as_ref();
        format!("{:#x}", secret_key_to_address(key))
    };
    (0..count).map(address).collect()
}
