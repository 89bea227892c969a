//! Folding events into the state. Never fails: what was recorded happened.

use std::collections::BTreeMap;

use super::event::MerchantEvent;
use super::state::{ApiKey, Merchant, MerchantState, WebhookSettings};

/// Folds one event into the merchant.
pub fn evolve(merchant: &mut Merchant, event: MerchantEvent) {
    match (&mut merchant.0, event) {
        (state @ None, MerchantEvent::MerchantRegistered(registered)) => {
            *state = Some(Box::new(MerchantState {
                id: registered.merchant_id,
                profile: registered.profile,
                policy: registered.policy,
                api_keys: BTreeMap::new(),
                webhook: None,
                suspended: None,
                registered_at: registered.at,
                forgotten_at: None,
            }));
        }
        (Some(state), event) => state.apply(event),
        // A stream begins with its registration; the store's sequence check keeps it so.
        (None, _) => {}
    }
}

impl MerchantState {
    fn apply(&mut self, event: MerchantEvent) {
        match event {
            MerchantEvent::MerchantRegistered(_) => {}
            MerchantEvent::ApiKeyIssued(issued) => {
                self.api_keys.insert(
                    issued.key_id,
                    ApiKey { prefix: issued.prefix, secret: issued.secret, issued_at: issued.at, revoked_at: None },
                );
            }
            MerchantEvent::ApiKeyRevoked(revoked) => {
                if let Some(key) = self.api_keys.get_mut(&revoked.key_id) {
                    key.revoked_at.get_or_insert(revoked.at);
                }
            }
            MerchantEvent::WebhookConfigured(configured) => {
                self.webhook = Some(WebhookSettings { url: configured.url, secret: configured.secret });
            }
            MerchantEvent::MerchantSuspended(suspended) => self.suspended = Some(suspended.reason),
            MerchantEvent::MerchantReinstated(_) => self.suspended = None,
            MerchantEvent::MerchantForgotten(forgotten) => {
                self.forgotten_at.get_or_insert(forgotten.at);
            }
        }
    }
}
