//! The key of one subject, under the master key.

use uuid::Uuid;

use crate::error::{Sealed, VaultError};
use crate::key::VaultKey;
use crate::seal::Sealer;
use crate::store::SubjectKey;

/// Seals a subject's key under the master key.
pub(crate) fn seal(master: &Sealer, subject: Uuid, key: &VaultKey) -> SubjectKey {
    SubjectKey { sealed: Some(master.seal(&context(subject), key.expose())), key_id: master.key_id().to_string() }
}

/// Opens a subject's key.
///
/// # Errors
/// It was destroyed, sealed under another master key, or is not what was stored.
pub(crate) fn open(master: &Sealer, subject: Uuid, stored: &SubjectKey) -> Result<Sealer, VaultError> {
    let sealed = stored.sealed.as_deref().ok_or(VaultError::Forgotten(subject))?;
    if stored.key_id != master.key_id().to_string() {
        let what = Sealed::SubjectKey(subject);
        return Err(VaultError::WrongKey { what, expected: stored.key_id.clone(), given: master.key_id() });
    }
    let tampered = || VaultError::TamperedSubjectKey(subject);
    let bytes = master.open(&context(subject), sealed).map_err(|_| tampered())?;
    let key = VaultKey::from_slice(&bytes).map_err(|_| tampered())?;
    Ok(Sealer::new(&key))
}

/// What a subject's key is bound to. Shorter than any secret's context, so neither opens as the other.
fn context(subject: Uuid) -> Vec<u8> {
    [b"subject-key".as_slice(), subject.as_bytes()].concat()
}
