//! Which events follow from a command.

use super::command::MerchantCommand;
use super::error::MerchantError;
use super::event::{
    ApiKeyIssued, ApiKeyRevoked, MerchantEvent, MerchantForgotten, MerchantRegistered, MerchantReinstated,
    MerchantSuspended, WebhookConfigured,
};
use super::state::{Merchant, MerchantState, WebhookSettings};
use crate::Timestamp;

/// The events that follow from a command, none if it changes nothing.
///
/// # Errors
/// When the command contradicts the state; then nothing follows.
pub fn decide(merchant: &Merchant, command: MerchantCommand) -> Result<Vec<MerchantEvent>, MerchantError> {
    let Some(state) = merchant.state() else {
        return match command {
            MerchantCommand::Register(register) => Ok(vec![MerchantEvent::MerchantRegistered(MerchantRegistered {
                merchant_id: register.merchant_id,
                profile: register.profile,
                policy: register.policy,
                at: register.at,
            })]),
            _ => Err(MerchantError::NotFound),
        };
    };
    let events = match command {
        MerchantCommand::Register(_) => return Err(MerchantError::AlreadyRegistered),
        MerchantCommand::Forget { at } => return Ok(forget(state, at)),
        // What is said twice stays an answer, not an error.
        MerchantCommand::RevokeApiKey { key_id, .. } if state.forgotten_at.is_some() => {
            return state.api_keys.contains_key(&key_id).then(Vec::new).ok_or(MerchantError::ApiKeyNotFound(key_id));
        }
        _ if state.forgotten_at.is_some() => return Err(MerchantError::Forgotten),
        MerchantCommand::IssueApiKey { key_id, prefix, secret, at } => {
            if state.api_keys.contains_key(&key_id) {
                return Err(MerchantError::ApiKeyExists(key_id));
            }
            Some(MerchantEvent::ApiKeyIssued(ApiKeyIssued { key_id, prefix, secret, at }))
        }
        MerchantCommand::RevokeApiKey { key_id, at } => {
            let key = state.api_keys.get(&key_id).ok_or(MerchantError::ApiKeyNotFound(key_id))?;
            let live = key.revoked_at.is_none();
            live.then_some(MerchantEvent::ApiKeyRevoked(ApiKeyRevoked { key_id, at }))
        }
        MerchantCommand::ConfigureWebhook { url, secret, at } => {
            let wanted = WebhookSettings { url: url.clone(), secret };
            let changes = state.webhook.as_ref() != Some(&wanted);
            changes.then_some(MerchantEvent::WebhookConfigured(WebhookConfigured { url, secret, at }))
        }
        MerchantCommand::Suspend { reason, at } => {
            let changes = state.suspended.as_ref() != Some(&reason);
            changes.then_some(MerchantEvent::MerchantSuspended(MerchantSuspended { reason, at }))
        }
        MerchantCommand::Reinstate { at } => {
            let suspended = state.suspended.is_some();
            suspended.then_some(MerchantEvent::MerchantReinstated(MerchantReinstated { at }))
        }
    };
    Ok(events.into_iter().collect())
}

/// Every live key ends with it, each by an event of its own, so that whoever knows only keys sees them end.
fn forget(state: &MerchantState, at: Timestamp) -> Vec<MerchantEvent> {
    if state.forgotten_at.is_some() {
        return Vec::new();
    }
    let live = state.api_keys.iter().filter(|(_, key)| key.revoked_at.is_none());
    let revoked = live.map(|(&key_id, _)| MerchantEvent::ApiKeyRevoked(ApiKeyRevoked { key_id, at }));
    revoked.chain([MerchantEvent::MerchantForgotten(MerchantForgotten { at })]).collect()
}
