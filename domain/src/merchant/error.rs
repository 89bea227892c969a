//! Why a merchant refuses a command.

use crate::ids::ApiKeyId;

/// Why a merchant refuses a command. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MerchantError {
    /// It was never registered.
    #[error("the merchant does not exist")]
    NotFound,
    /// It was registered before.
    #[error("the merchant is registered already")]
    AlreadyRegistered,
    /// An id was used twice.
    #[error("the API key {0} exists already")]
    ApiKeyExists(ApiKeyId),
    /// Nothing can be changed about it any more.
    #[error("the merchant was forgotten")]
    Forgotten,
    /// No such key.
    #[error("the merchant has no API key {0}")]
    ApiKeyNotFound(ApiKeyId),
}
