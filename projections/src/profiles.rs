//! Where merchants' names and e-mails come from: they are personal data, so no event holds them.

use async_trait::async_trait;
use serde::Deserialize;
use wopay_domain::SecretRef;
use wopay_vault::{Vault, VaultError};

/// A merchant's personal data, sealed as JSON `{"name": …, "email": …}`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Its e-mail address.
    pub email: String,
}

/// Why a profile could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Where profiles are kept cannot be asked: worth another try.
    #[error("profiles cannot be reached")]
    Unavailable(#[source] sqlx::Error),
    /// It is there and cannot be read, now or later.
    #[error("the profile cannot be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Opens profiles.
#[async_trait]
pub trait Profiles: Send + Sync + 'static {
    /// The profile behind a reference; `None` if it was forgotten.
    ///
    /// # Errors
    /// See [`ProfileError`].
    async fn profile(&self, reference: SecretRef) -> Result<Option<Profile>, ProfileError>;
}

#[async_trait]
impl Profiles for Vault {
    async fn profile(&self, reference: SecretRef) -> Result<Option<Profile>, ProfileError> {
        let opened = match self.open(reference.as_uuid()).await {
            Ok(opened) => opened,
            Err(VaultError::NotFound(_) | VaultError::Forgotten(_)) => return Ok(None),
            Err(VaultError::Database(error)) => return Err(ProfileError::Unavailable(error)),
            Err(error) => return Err(ProfileError::Unreadable(error.into())),
        };
        serde_json::from_slice(&opened).map(Some).map_err(|error| ProfileError::Unreadable(error.into()))
    }
}
