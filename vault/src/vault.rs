//! The vault: values sealed into a table, opened by reference.

use std::fmt;
use std::time::Duration;

use hmac::{Hmac, Mac};
use moka::sync::Cache;
use sha2::Sha256;
use sqlx::PgPool;
use uuid::Uuid;

use crate::error::{Sealed, VaultError};
use crate::key::VaultKey;
use crate::opened::OpenedSecret;
use crate::seal::Sealer;
use crate::store::{self, Row};
use crate::subject;

/// The most bytes that one secret may have.
pub const PLAINTEXT_BYTES_MAX: usize = 64 * 1024;

/// Opened values are kept this long, so that a webhook does not cost a query: a value deleted by another process can be
/// opened here for this long.
const CACHE_FOR: Duration = Duration::from_secs(60);
const CACHE_ENTRIES_MAX: u64 = 4096;

/// Rows of earlier versions that are read at a time.
const RESEAL_ROWS: i64 = 500;

/// Seals values into the table `secrets`. A clone shares everything.
#[derive(Clone)]
pub struct Vault {
    pool: PgPool,
    /// Under the master key: of subjects' keys, and of rows of earlier versions.
    master: Sealer,
    key: VaultKey,
    opened: Cache<Uuid, OpenedSecret>,
}

/// What became of rows that earlier versions had sealed under the master key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// They are under their subjects' keys now, or empty when the subject was forgotten.
    pub resealed: u64,
    /// They do not open, and are left as they are.
    pub damaged: u64,
}

/// What forgetting a subject did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The subject's key was there until now.
    pub is_new: bool,
    /// Secrets that were destroyed with it.
    pub secrets: usize,
}

impl Vault {
    /// A vault under this key, which is [`MasterKey::subkey`](crate::MasterKey::subkey) of
    /// [`purpose::SECRETS`](crate::purpose::SECRETS).
    #[must_use]
    pub fn new(pool: PgPool, key: VaultKey) -> Self {
        let opened = Cache::builder().max_capacity(CACHE_ENTRIES_MAX).time_to_live(CACHE_FOR).build();
        Self { pool, master: Sealer::new(&key), key, opened }
    }

    /// Asserts that no stored row needs another key. Call it at start: with another key nothing opens, and digests of
    /// what must be unique would no longer meet.
    ///
    /// # Errors
    /// [`VaultError::WrongKey`] names a row that needs another key.
    pub async fn check_key(&self) -> Result<(), VaultError> {
        let key_id = self.master.key_id().to_string();
        if let Some((subject, expected)) = store::find_foreign_key(&self.pool, &key_id).await? {
            return Err(self.wrong_key(Sealed::SubjectKey(subject), expected));
        }
        match store::find_foreign(&self.pool, &key_id).await? {
            None => Ok(()),
            Some((reference, expected)) => Err(self.wrong_key(Sealed::Secret(reference), expected)),
        }
    }

    /// Seals again, under their subjects' keys, the rows that earlier versions sealed under the master key. Call it at
    /// start; it costs one query when there are none. Several processes may do it at once, beside others that open values.
    ///
    /// # Errors
    /// The database fails, or a row was sealed with another key.
    pub async fn reseal(&self) -> Result<Resealed, VaultError> {
        let mut done = Resealed::default();
        let mut after = Uuid::nil();
        loop {
            let rows = store::find_by_master(&self.pool, after, RESEAL_ROWS).await?;
            let Some((last, _)) = rows.last() else { return Ok(done) };
            after = *last;
            for (reference, row) in &rows {
                match self.reseal_row(*reference, row).await {
                    Ok(true) => done.resealed += 1,
                    Ok(false) => {}
                    Err(VaultError::Tampered(_)) => done.damaged += 1,
                    Err(error) => return Err(error),
                }
            }
        }
    }

    async fn reseal_row(&self, reference: Uuid, row: &Row) -> Result<bool, VaultError> {
        let opened = self.open_with(&self.master, reference, row)?;
        let sealed = match self.subject_sealer(row.subject).await {
            Ok(sealer) => sealer.seal(&context(reference, row.subject, &row.kind), &opened),
            Err(VaultError::Forgotten(_)) => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(store::reseal(&self.pool, reference, &row.sealed, &sealed).await?)
    }

    /// Seals a value that belongs to `subject` and returns its reference (UUID v7).
    ///
    /// # Errors
    /// The value is too large, the subject was forgotten, or the database fails.
    pub async fn store(&self, subject: Uuid, kind: &str, plaintext: &[u8]) -> Result<Uuid, VaultError> {
        let reference = Uuid::now_v7();
        self.store_with(reference, subject, kind, plaintext).await?;
        Ok(reference)
    }

    /// Seals a value under a reference of the caller's. Doing it again with the same arguments changes nothing.
    ///
    /// # Errors
    /// [`VaultError::Taken`] when the reference holds something else; also when the value is too large, the subject was
    /// forgotten, the row there does not open, or the database fails.
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
        let sealer = self.subject_sealer(subject).await?;
        let row = Row {
            subject,
            kind: kind.to_owned(),
            sealed: sealer.seal(&context(reference, subject, kind), plaintext),
            key_id: self.master.key_id().to_string(),
            by_subject: true,
        };
        if store::insert(&self.pool, reference, &row).await? {
            return Ok(());
        }
        let stored = self.find(reference).await?;
        let same = (stored.subject, stored.kind.as_str()) == (subject, kind);
        if same && *self.open_row(reference, &stored).await? == *plaintext {
            Ok(())
        } else {
            Err(VaultError::Taken(reference))
        }
    }

    /// Opens a value.
    ///
    /// # Errors
    /// It is not there, its subject was forgotten, it was sealed with another key, is not what was stored, or the database
    /// fails.
    pub async fn open(&self, reference: Uuid) -> Result<OpenedSecret, VaultError> {
        if let Some(opened) = self.opened.get(&reference) {
            return Ok(opened);
        }
        let opened = self.open_row(reference, &self.find(reference).await?).await?;
        self.opened.insert(reference, opened.clone());
        Ok(opened)
    }

    /// Forgets a subject for ever: destroys its key and empties its rows. From then on nothing of it opens, also not from a
    /// copy of `secrets`, and nothing can be stored for it. Doing it again changes nothing. Other processes may still have
    /// opened values in memory for a minute.
    ///
    /// # Errors
    /// The database fails; nothing has changed then.
    pub async fn forget(&self, subject: Uuid) -> Result<Forgotten, VaultError> {
        let mut tx = self.pool.begin().await?;
        let is_new = store::destroy_key(&mut *tx, subject, &self.master.key_id().to_string()).await?;
        let references = store::empty_subject(&mut *tx, subject).await?;
        tx.commit().await?;
        references.iter().for_each(|reference| self.opened.invalidate(reference));
        Ok(Forgotten { is_new, secrets: references.len() })
    }

    /// Deletes every value of a subject that came to nothing, and says how many there were. The subject may be used again;
    /// to forget a person, [`forget`](Self::forget).
    ///
    /// # Errors
    /// The database fails.
    pub async fn delete_subject(&self, subject: Uuid) -> Result<usize, VaultError> {
        let mut tx = self.pool.begin().await?;
        let references = store::delete_subject(&mut *tx, subject).await?;
        store::delete_key(&mut *tx, subject).await?;
        tx.commit().await?;
        references.iter().for_each(|reference| self.opened.invalidate(reference));
        Ok(references.len())
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

    async fn open_row(&self, reference: Uuid, row: &Row) -> Result<OpenedSecret, VaultError> {
        let key = store::find_key(&self.pool, row.subject).await?;
        match key {
            Some(key) if row.by_subject || key.sealed.is_none() => {
                self.open_with(&subject::open(&self.master, row.subject, &key)?, reference, row)
            }
            None if row.by_subject => {
                self.check_key_id(reference, row)?;
                Err(VaultError::NoSubjectKey { reference, subject: row.subject })
            }
            // Not sealed again yet.
            Some(_) | None => self.open_with(&self.master, reference, row),
        }
    }

    fn open_with(&self, sealer: &Sealer, reference: Uuid, row: &Row) -> Result<OpenedSecret, VaultError> {
        self.check_key_id(reference, row)?;
        let context = context(reference, row.subject, &row.kind);
        let plaintext = sealer.open(&context, &row.sealed).map_err(|_| VaultError::Tampered(reference))?;
        Ok(OpenedSecret::new(plaintext))
    }

    fn check_key_id(&self, reference: Uuid, row: &Row) -> Result<(), VaultError> {
        if row.key_id == self.master.key_id().to_string() {
            return Ok(());
        }
        Err(self.wrong_key(Sealed::Secret(reference), row.key_id.clone()))
    }

    /// What seals under the subject's key, which is made if it has none.
    async fn subject_sealer(&self, subject: Uuid) -> Result<Sealer, VaultError> {
        let mut stored = store::find_key(&self.pool, subject).await?;
        if stored.is_none() {
            store::insert_key(&self.pool, subject, &subject::seal(&self.master, subject, &VaultKey::generate()))
                .await?;
            // Somebody else may have been faster: theirs counts.
            stored = store::find_key(&self.pool, subject).await?;
        }
        let stored = stored.ok_or(sqlx::Error::RowNotFound)?;
        subject::open(&self.master, subject, &stored)
    }

    fn wrong_key(&self, what: Sealed, expected: String) -> VaultError {
        VaultError::WrongKey { what, expected, given: self.master.key_id() }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Vault").field(&self.master).finish()
    }
}

/// What a sealed value is bound to: two ids of fixed length, then the kind, so no two rows have the same.
fn context(reference: Uuid, subject: Uuid, kind: &str) -> Vec<u8> {
    [reference.as_bytes().as_slice(), subject.as_bytes(), kind.as_bytes()].concat()
}
