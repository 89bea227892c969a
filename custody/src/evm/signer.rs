//! Signing EVM transactions with the keys behind our addresses.

use std::fmt;

use bip32::{ChildNumber, XPrv};
use ethers::signers::{LocalWallet, Signer, WalletError};
use ethers::types::transaction::eip2718::TypedTransaction;
use ethers::types::{Address, Bytes, H256};
use ethers::utils::keccak256;

use super::parent_key;
use crate::deriver::{AddressIndex, DeriveError};
use crate::seed::Seed;

/// Signs with the key of any of our EVM addresses. Holds the parent's private key and gives out signatures only.
#[derive(Clone)]
pub struct EvmSigner {
    parent: XPrv,
}

/// A transaction ready to be broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTransaction {
    /// The bytes for `eth_sendRawTransaction`.
    pub raw: Bytes,
    /// The hash it will have on chain.
    pub hash: H256,
    /// Whose key signed it.
    pub from: Address,
}

/// Why a transaction was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Without a chain id it would be valid on every EVM chain.
    #[error("a transaction without a chain id is not signed")]
    NoChainId,
    /// It names another sender than the address asked for.
    #[error("the transaction is from {named:#x}, the key is that of {own:#x}")]
    Sender {
        /// The transaction's `from`.
        named: Address,
        /// The address whose key was asked for.
        own: Address,
    },
    /// The wallet has no such key.
    #[error("cannot derive the key")]
    Derive(#[from] DeriveError),
    /// The signature could not be made.
    #[error("cannot sign")]
    Wallet(#[from] WalletError),
}

impl EvmSigner {
    pub(crate) fn new(seed: &Seed) -> Result<Self, DeriveError> {
        Ok(Self { parent: parent_key(seed)? })
    }

    /// Signs a transaction with the key of the address at `index`.
    ///
    /// # Errors
    /// It has no chain id, names another sender, or the key cannot be derived or used.
    pub fn sign(&self, index: AddressIndex, transaction: &TypedTransaction) -> Result<SignedTransaction, SignError> {
        let wallet = self.wallet(index)?;
        let from = wallet.address();
        if transaction.chain_id().is_none() {
            return Err(SignError::NoChainId);
        }
        if let Some(named) = transaction.from().filter(|named| **named != from) {
            return Err(SignError::Sender { named: *named, own: from });
        }
        let signature = wallet.sign_transaction_sync(transaction)?;
        let raw = transaction.rlp_signed(&signature);
        let hash = H256(keccak256(&raw));
        Ok(SignedTransaction { raw, hash, from })
    }

    fn wallet(&self, index: AddressIndex) -> Result<LocalWallet, DeriveError> {
        let child = self.parent.derive_child(ChildNumber::new(index.get(), false)?)?;
        Ok(LocalWallet::from(child.private_key().clone()))
    }
}

impl fmt::Debug for EvmSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EvmSigner")
    }
}

#[cfg(test)]
mod tests {
    use ethers::types::{Eip1559TransactionRequest, Eip2930TransactionRequest, TransactionRequest, U256};
    use ethers::utils::rlp::Rlp;

    use super::*;
    use crate::evm::EvmAddresses;

    const JUNK: &str = "test test test test test test test test test test test junk";

    fn signer() -> EvmSigner {
        EvmSigner::new(&Seed::from_words(JUNK).unwrap()).unwrap()
    }

    fn index(index: u32) -> AddressIndex {
        AddressIndex::new(index).unwrap()
    }

    fn transactions() -> Vec<TypedTransaction> {
        let legacy = TransactionRequest::new().to(Address::repeat_byte(7)).value(1).gas(21_000).gas_price(9).nonce(3);
        let legacy = legacy.chain_id(56);
        let dynamic = Eip1559TransactionRequest::new().to(Address::repeat_byte(7)).value(U256::exp10(18)).gas(21_000);
        let dynamic = dynamic.nonce(0).chain_id(1).max_fee_per_gas(100).max_priority_fee_per_gas(2);
        let listed = Eip2930TransactionRequest::new(legacy.clone(), Default::default());
        vec![legacy.into(), dynamic.into(), listed.into()]
    }

    #[test]
    fn what_is_signed_is_the_transaction_and_recovers_to_our_address() {
        let own = EvmAddresses::new(&Seed::from_words(JUNK).unwrap()).unwrap();
        for transaction in transactions() {
            for i in [0, 1, 77] {
                let signed = signer().sign(index(i), &transaction).unwrap();
                assert_eq!(format!("{:#x}", signed.from), own.address(index(i)).unwrap());
                let (decoded, signature) = TypedTransaction::decode_signed(&Rlp::new(&signed.raw)).unwrap();
                assert_eq!(decoded.sighash(), transaction.sighash(), "what was signed is what was asked for");
                assert_eq!(signature.recover(decoded.sighash()).unwrap(), signed.from);
                assert_eq!(decoded.hash(&signature), signed.hash);
            }
        }
    }

    #[test]
    fn a_transaction_for_every_chain_or_of_another_sender_is_refused() {
        let everywhere: TypedTransaction = TransactionRequest::pay(Address::repeat_byte(7), 1).into();
        assert!(matches!(signer().sign(index(0), &everywhere), Err(SignError::NoChainId)));
        let mut transaction = transactions().remove(0);
        transaction.set_from(Address::repeat_byte(1));
        assert!(matches!(signer().sign(index(0), &transaction), Err(SignError::Sender { .. })));
        transaction.set_from(signer().wallet(index(0)).unwrap().address());
        signer().sign(index(0), &transaction).unwrap();
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", signer()), "EvmSigner");
    }
}
