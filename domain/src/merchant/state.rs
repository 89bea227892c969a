//! The state that a merchant's events fold into.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::ids::{ApiKeyId, MerchantId, SecretRef};
use crate::money::Percentage;
use crate::payment::LateDeposits;

/// A merchant, registered or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merchant(pub(super) Option<Box<MerchantState>>);

impl Merchant {
    /// The state, `None` before registration.
    #[must_use]
    pub fn state(&self) -> Option<&MerchantState> {
        self.0.as_deref()
    }
}

/// A registered merchant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MerchantState {
    /// Its id.
    pub id: MerchantId,
    /// Where its name and e-mail are sealed.
    pub profile: SecretRef,
    /// The rules of its payments.
    pub policy: MerchantPolicy,
    /// Its API keys, also revoked ones.
    pub api_keys: BTreeMap<ApiKeyId, ApiKey>,
    /// Where webhooks go and how they are signed.
    pub webhook: Option<WebhookSettings>,
    /// Why its requests are refused, if they are.
    pub suspended: Option<String>,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// When who it is was forgotten.
    #[serde(default)]
    pub forgotten_at: Option<Timestamp>,
}

impl MerchantState {
    /// Whether requests with this key are served.
    #[must_use]
    pub fn accepts(&self, key: ApiKeyId) -> bool {
        self.suspended.is_none()
            && self.forgotten_at.is_none()
            && self.api_keys.get(&key).is_some_and(|key| key.revoked_at.is_none())
    }
}

/// The rules of a merchant's payments; each payment freezes them at its creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MerchantPolicy {
    /// How much less than the amount is still enough.
    pub underpayment_tolerance: Percentage,
    /// What becomes of money after the deadline.
    pub late_deposits: LateDeposits,
}

impl Default for MerchantPolicy {
    /// No tolerance; late money counts and is flagged.
    fn default() -> Self {
        Self { underpayment_tolerance: Percentage::ZERO, late_deposits: LateDeposits::Accept }
    }
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The first characters of the key.
    pub prefix: String,
    /// Where the key's request-signing secret is sealed.
    pub secret: SecretRef,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it became useless.
    pub revoked_at: Option<Timestamp>,
}

/// Where webhooks go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSettings {
    /// The merchant's URL.
    pub url: Option<String>,
    /// Where the signing secret is sealed.
    pub secret: SecretRef,
}
