//! The vault: values sealed into a table, opened by reference.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, Mac};
use moka::sync::Cache;
use sha2::Sha256;
use sqlx::PgPool;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::key::VaultKey;
use crate::seal::Sealer;
use crate::store::{self, Row};

/// The most bytes that one secret may have.
pub const PLAINTEXT_BYTES_MAX: usize = 64 * 1024;

/// Opened values are kept this long, so that a webhook does not cost a query: a value deleted by another process can be
/// opened here for this long.
const CACHE_FOR: Duration = Duration::from_secs(60);
const CACHE_ENTRIES_MAX: u64 = 4096;

/// Seals values into the table `secrets`. A clone shares everything.
#[derive(Clone)]
pub struct Vault {
    pool: PgPool,
    sealer: Sealer,
    key: VaultKey,
    opened: Cache<Uuid, OpenedSecret>,
}

impl Vault {
    /// A vault under this key, which is [`MasterKey::subkey`](crate::MasterKey::subkey) of
    /// [`purpose::SECRETS`](crate::purpose::SECRETS).
    #[must_use]
    pub fn new(pool: PgPool, key: VaultKey) -> Self {
        let opened = Cache::builder().max_capacity(CACHE_ENTRIES_MAX).time_to_live(CACHE_FOR).build();
        Self { pool, sealer: Sealer::new(&key), key, opened }
    }

    /// Asserts that no stored row needs another key. Call it at start: with another key nothing opens, and digests of
    /// what must be unique would no longer meet.
    ///
    /// # Errors
    /// [`VaultError::WrongKey`] names a row that needs another key.
    pub async fn check_key(&self) -> Result<(), VaultError> {
        let key_id = self.sealer.key_id().to_string();
        match store::find_foreign(&self.pool, &key_id).await? {
            None => Ok(()),
            Some((reference, expected)) => Err(self.wrong_key(reference, expected)),
        }
    }

    /// Seals a value that belongs to `subject` and returns its reference (UUID v7).
    ///
    /// # Errors
    /// The value is too large, or the database fails.
    pub async fn store(&self, subject: Uuid, kind: &str, plaintext: &[u8]) -> Result<Uuid, VaultError> {
        let reference = Uuid::now_v7();
        self.store_with(reference, subject, kind, plaintext).await?;
        Ok(reference)
    }

    /// Seals a value under a reference of the caller's. Doing it again with the same arguments changes nothing.
    ///
    /// # Errors
    /// [`VaultError::Taken`] when the reference holds something else; also when the value is too large, the row there
    /// does not open, or the database fails.
    pub async fn store_with(
        &self,
        reference: Uuid,
        subject: Uuid,
        kind: &str,
        plaintext: &[u8],
    ) -> Result<(), VaultError> {
        if plaintext.len() > PLAINTEXT_BYTES_MAX {
            return Err(VaultError::TooLarge { length: plaintext.len(), max: PLAINTEXT_BYTES_MAX });
        }
        let row = Row {
            subject,
            kind: kind.to_owned(),
            sealed: self.sealer.seal(&context(reference, subject, kind), plaintext),
            key_id: self.sealer.key_id().to_string(),
        };
        if store::insert(&self.pool, reference, &row).await? {
            return Ok(());
        }
        let stored = self.find(reference).await?;
        let same = (stored.subject, stored.kind.as_str()) == (subject, kind);
        if same && *self.open_row(reference, &stored)? == *plaintext {
            Ok(())
        } else {
            Err(VaultError::Taken(reference))
        }
    }

    /// Opens a value.
    ///
    /// # Errors
    /// It is not there, was sealed with another key, is not what was stored, or the database fails.
    pub async fn open(&self, reference: Uuid) -> Result<OpenedSecret, VaultError> {
        if let Some(opened) = self.opened.get(&reference) {
            return Ok(opened);
        }
        let opened = self.open_row(reference, &self.find(reference).await?)?;
        self.opened.insert(reference, opened.clone());
        Ok(opened)
    }

    /// Deletes every value of a subject and says how many there were. Other processes may still have opened values in
    /// memory for a minute.
    ///
    /// # Errors
    /// The database fails.
    pub async fn delete_subject(&self, subject: Uuid) -> Result<usize, VaultError> {
        let deleted = store::delete_subject(&self.pool, subject).await?;
        for reference in &deleted {
            self.opened.invalidate(reference);
        }
        Ok(deleted.len())
    }

    /// A keyed digest (HMAC-SHA256, 64 hex digits): equal texts meet, and nobody without the key can try texts.
    #[must_use]
    pub fn digest(&self, text: &str) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(self.key.derive("digest").as_slice());
        let mut mac = mac.expect("HMAC takes keys of any length");
        mac.update(text.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    async fn find(&self, reference: Uuid) -> Result<Row, VaultError> {
        store::find(&self.pool, reference).await?.ok_or(VaultError::NotFound(reference))
    }

    fn open_row(&self, reference: Uuid, row: &Row) -> Result<OpenedSecret, VaultError> {
        if row.key_id != self.sealer.key_id().to_string() {
            return Err(self.wrong_key(reference, row.key_id.clone()));
        }
        let context = context(reference, row.subject, &row.kind);
        let plaintext = self.sealer.open(&context, &row.sealed).map_err(|_| VaultError::Tampered(reference))?;
        Ok(OpenedSecret(Arc::new(plaintext)))
    }

    fn wrong_key(&self, reference: Uuid, expected: String) -> VaultError {
        VaultError::WrongKey { reference, expected, given: self.sealer.key_id() }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Vault").field(&self.sealer).finish()
    }
}

/// What a sealed value is bound to: two ids of fixed length, then the kind, so no two rows have the same.
fn context(reference: Uuid, subject: Uuid, kind: &str) -> Vec<u8> {
    [reference.as_bytes().as_slice(), subject.as_bytes(), kind.as_bytes()].concat()
}

/// An opened value: reads as its bytes, never prints them, wiped from memory with its last clone.
#[derive(Clone)]
pub struct OpenedSecret(Arc<Zeroizing<Vec<u8>>>);

impl OpenedSecret {
    /// The value as text.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn as_str(&self) -> Result<&str, std::str::Utf8Error> {
        std::str::from_utf8(self)
    }
}

impl Deref for OpenedSecret {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for OpenedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenedSecret")
    }
}
