//! Where the seed is kept: one row, sealed under the master key.

mod store;

use sqlx::PgPool;
use wopay_domain::ChainFamily;
use wopay_vault::{KeyId, MasterKey, Sealer, purpose};
use zeroize::Zeroizing;

use crate::deriver::{AddressDeriver, DeriveError};
use crate::evm::{EvmAddresses, EvmSigner};
use crate::pool::{PoolError, verify};
use crate::seed::{MnemonicError, Seed, WalletFingerprint};
use crate::solana::SolanaAddresses;
use store::Row;

/// What to do when no seed is stored yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenMissing {
    /// Make one: development, or a first start that asks for it.
    Create,
    /// Refuse: production.
    Refuse,
}

/// Why there is no wallet.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// No seed is stored and none was to be made. The app, which owns the settings, says which one allows it.
    #[error("no wallet seed is stored and none may be made here: import a mnemonic, or let the first start make one")]
    Missing,
    /// No seed is stored though addresses were derived from one: a new one would strand what is sent to them.
    #[error(
        "addresses were derived from a wallet seed that is no longer stored: restore the database, or import its mnemonic"
    )]
    SeedLost,
    /// The master key is not the one that sealed the seed.
    #[error("the wallet seed is sealed with the master key {expected}, the one given is {given}")]
    WrongMasterKey {
        /// Fingerprint of the key that would open it, as stored.
        expected: String,
        /// Fingerprint of the key given.
        given: KeyId,
    },
    /// The row is not what was stored.
    #[error("the stored wallet seed {0} was altered")]
    Tampered(String),
    /// Importing: another seed is stored already.
    #[error("the wallet {stored} is stored already, the mnemonic is that of {given}")]
    OtherWallet {
        /// The stored wallet.
        stored: WalletFingerprint,
        /// The mnemonic's wallet.
        given: WalletFingerprint,
    },
    /// Importing: the words are no mnemonic.
    #[error("cannot import the mnemonic")]
    Mnemonic(#[from] MnemonicError),
    /// Importing: the stored addresses are not of this seed, or could not be compared.
    #[error("the mnemonic was compared with the addresses stored")]
    Pool(#[from] PoolError),
    /// The seed has no usable keys, practically never.
    #[error("cannot derive the wallet's keys")]
    Derive(#[from] DeriveError),
    /// The database failed.
    #[error("the wallet seed cannot be reached")]
    Database(#[from] sqlx::Error),
}

/// The wallet of this ledger, opened. Wiped from memory when dropped.
#[derive(Clone, Debug)]
pub struct KeyStore {
    seed: Seed,
}

impl KeyStore {
    /// Opens the stored seed; makes one if there is none and `missing` says so. Of several first starts at once one
    /// seed remains and all of them open it.
    ///
    /// # Errors
    /// See [`KeyStoreError`]; never opens or makes a wallet other than the one whose addresses are stored.
    pub async fn open(pool: &PgPool, master: &MasterKey, missing: WhenMissing) -> Result<Self, KeyStoreError> {
        let sealer = Sealer::new(&master.subkey(purpose::CUSTODY));
        if let Some(row) = store::find(pool).await? {
            return open_row(&sealer, &row);
        }
        if store::is_lost(pool).await? {
            return Err(KeyStoreError::SeedLost);
        }
        match missing {
            WhenMissing::Refuse => Err(KeyStoreError::Missing),
            WhenMissing::Create => store_seed(pool, &sealer, &Seed::generate()).await,
        }
    }

    /// Stores the seed of an English BIP-39 mnemonic (no passphrase) and opens it. Again with the same words: nothing
    /// changes.
    ///
    /// # Errors
    /// See [`KeyStoreError`]: another seed is stored, the stored addresses are of another seed, or the words are wrong.
    pub async fn import(pool: &PgPool, master: &MasterKey, mnemonic: &str) -> Result<Self, KeyStoreError> {
        let given = Self { seed: Seed::from_words(mnemonic)? };
        let sealer = Sealer::new(&master.subkey(purpose::CUSTODY));
        let stored = match store::find(pool).await? {
            Some(row) => open_row(&sealer, &row)?,
            None => {
                verify(pool, &given.address_derivers()?).await?;
                store_seed(pool, &sealer, &given.seed).await?
            }
        };
        if stored.fingerprint() == given.fingerprint() {
            Ok(stored)
        } else {
            Err(KeyStoreError::OtherWallet { stored: stored.fingerprint(), given: given.fingerprint() })
        }
    }

    /// The words to write down: whoever has them has the money.
    #[must_use]
    pub fn export_mnemonic(&self) -> Zeroizing<String> {
        self.seed.words()
    }

    /// Tells wallets apart in logs and on the console.
    #[must_use]
    pub fn fingerprint(&self) -> WalletFingerprint {
        self.seed.fingerprint()
    }

    /// The deriver of a family's addresses.
    ///
    /// # Errors
    /// [`DeriveError::Path`], practically never.
    pub fn address_deriver(&self, family: ChainFamily) -> Result<AddressDeriver, DeriveError> {
        Ok(match family {
            ChainFamily::Evm => AddressDeriver::Evm(EvmAddresses::new(&self.seed)?),
            ChainFamily::Solana => AddressDeriver::Solana(SolanaAddresses::new(&self.seed)),
        })
    }

    /// The derivers of every family that this wallet serves.
    ///
    /// # Errors
    /// [`DeriveError::Path`], practically never.
    pub fn address_derivers(&self) -> Result<Vec<AddressDeriver>, DeriveError> {
        ChainFamily::ALL.into_iter().map(|family| self.address_deriver(family)).collect()
    }

    /// The signer of EVM transactions.
    ///
    /// # Errors
    /// [`DeriveError::Path`], practically never.
    pub fn evm_signer(&self) -> Result<EvmSigner, DeriveError> {
        EvmSigner::new(&self.seed)
    }
}

/// Stores a seed unless there is one, and opens the one that is stored.
async fn store_seed(pool: &PgPool, sealer: &Sealer, seed: &Seed) -> Result<KeyStore, KeyStoreError> {
    let fingerprint = seed.fingerprint().to_string();
    let row = Row {
        sealed: sealer.seal(&context(&fingerprint), &seed.entropy()),
        fingerprint,
        key_id: sealer.key_id().to_string(),
    };
    store::insert(pool, &row).await?;
    let row = store::find(pool).await?.ok_or(KeyStoreError::Missing)?;
    open_row(sealer, &row)
}

fn open_row(sealer: &Sealer, row: &Row) -> Result<KeyStore, KeyStoreError> {
    if row.key_id != sealer.key_id().to_string() {
        return Err(KeyStoreError::WrongMasterKey { expected: row.key_id.clone(), given: sealer.key_id() });
    }
    let tampered = || KeyStoreError::Tampered(row.fingerprint.clone());
    let entropy = sealer.open(&context(&row.fingerprint), &row.sealed).map_err(|_| tampered())?;
    let seed = Seed::from_entropy(&entropy).map_err(|_| tampered())?;
    if seed.fingerprint().to_string() == row.fingerprint { Ok(KeyStore { seed }) } else { Err(tampered()) }
}

fn context(fingerprint: &str) -> Vec<u8> {
    format!("wallet-seed/{fingerprint}").into_bytes()
}
