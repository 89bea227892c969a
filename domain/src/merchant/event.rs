//! What has happened to a merchant. These shapes are kept for ever: a change is a new version and an upcaster.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use super::state::MerchantPolicy;
use crate::Timestamp;
use crate::ids::{ApiKeyId, MerchantId, SecretRef};
use crate::upcast;

/// An event of one merchant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MerchantEvent {
    /// It was registered.
    MerchantRegistered(MerchantRegistered),
    /// It was given an API key.
    ApiKeyIssued(ApiKeyIssued),
    /// One of its API keys became useless.
    ApiKeyRevoked(ApiKeyRevoked),
    /// Its webhook URL or secret was set.
    WebhookConfigured(WebhookConfigured),
    /// Its requests are refused.
    MerchantSuspended(MerchantSuspended),
    /// Its requests are served again.
    MerchantReinstated(MerchantReinstated),
    /// Who it is was forgotten, for ever.
    MerchantForgotten(MerchantForgotten),
}

/// See [`MerchantEvent::MerchantRegistered`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MerchantRegistered {
    /// The merchant.
    pub merchant_id: MerchantId,
    /// Where its name and e-mail are sealed.
    pub profile: SecretRef,
    /// The rules of its payments.
    pub policy: MerchantPolicy,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`MerchantEvent::ApiKeyIssued`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyIssued {
    /// Which key.
    pub key_id: ApiKeyId,
    /// The first characters of the key, to recognize it by.
    pub prefix: String,
    /// Where the key's request-signing secret is sealed.
    pub secret: SecretRef,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`MerchantEvent::ApiKeyRevoked`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRevoked {
    /// Which key.
    pub key_id: ApiKeyId,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`MerchantEvent::WebhookConfigured`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookConfigured {
    /// Where webhooks go.
    pub url: Option<String>,
    /// Where the signing secret is sealed.
    pub secret: SecretRef,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`MerchantEvent::MerchantSuspended`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MerchantSuspended {
    /// Why.
    pub reason: String,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`MerchantEvent::MerchantReinstated`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MerchantReinstated {
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`MerchantEvent::MerchantForgotten`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MerchantForgotten {
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

impl MerchantEvent {
    /// The event's name in storage and subjects.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::MerchantRegistered(_) => "MerchantRegistered",
            Self::ApiKeyIssued(_) => "ApiKeyIssued",
            Self::ApiKeyRevoked(_) => "ApiKeyRevoked",
            Self::WebhookConfigured(_) => "WebhookConfigured",
            Self::MerchantSuspended(_) => "MerchantSuspended",
            Self::MerchantReinstated(_) => "MerchantReinstated",
            Self::MerchantForgotten(_) => "MerchantForgotten",
        }
    }
}

impl DomainEvent for MerchantEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        upcast::current_version(self.name()).to_owned()
    }
}
