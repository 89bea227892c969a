//! What can be asked of a merchant. Commands carry ids and the time.

use super::state::MerchantPolicy;
use crate::Timestamp;
use crate::ids::{ApiKeyId, MerchantId, SecretRef};

/// A command to one merchant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MerchantCommand {
    /// Register it.
    Register(RegisterMerchant),
    /// Give it an API key; its hash is a claim in the same append.
    IssueApiKey {
        /// The new key's id.
        key_id: ApiKeyId,
        /// The first characters of the key, to recognize it by.
        prefix: String,
        /// Where the key's request-signing secret is sealed.
        secret: SecretRef,
        /// Now.
        at: Timestamp,
    },
    /// Make an API key useless, for ever.
    RevokeApiKey {
        /// Which key.
        key_id: ApiKeyId,
        /// Now.
        at: Timestamp,
    },
    /// Say where webhooks go and with which secret they are signed.
    ConfigureWebhook {
        /// The merchant's URL; `None` leaves only the payments' own callback URLs.
        url: Option<String>,
        /// Where the signing secret is sealed.
        secret: SecretRef,
        /// Now.
        at: Timestamp,
    },
    /// Refuse its requests from now on. Money that arrives is still recorded.
    Suspend {
        /// Why.
        reason: String,
        /// Now.
        at: Timestamp,
    },
    /// End a suspension.
    Reinstate {
        /// Now.
        at: Timestamp,
    },
    /// Forget who it is, for ever: its keys become useless, and whoever asked destroys the key of its personal data and
    /// secrets once this is recorded. Money that arrives is still recorded.
    Forget {
        /// Now.
        at: Timestamp,
    },
}

/// Registers a merchant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterMerchant {
    /// The new merchant's id.
    pub merchant_id: MerchantId,
    /// Where its name and e-mail are sealed.
    pub profile: SecretRef,
    /// The rules of its payments.
    pub policy: MerchantPolicy,
    /// Now.
    pub at: Timestamp,
}
