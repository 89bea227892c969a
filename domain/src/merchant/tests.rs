#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use chrono::DateTime;
use uuid::Uuid;

use super::{
    Merchant, MerchantCommand, MerchantError, MerchantEvent, MerchantPolicy, RegisterMerchant, decide, evolve,
};
use crate::Timestamp;
use crate::ids::{ApiKeyId, MerchantId, SecretRef};

fn at(second: i64) -> Timestamp {
    DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
}

fn key(number: u128) -> ApiKeyId {
    ApiKeyId::from_uuid(Uuid::from_u128(number))
}

fn secret(number: u128) -> SecretRef {
    SecretRef::from_uuid(Uuid::from_u128(number))
}

fn register() -> MerchantCommand {
    MerchantCommand::Register(RegisterMerchant {
        merchant_id: MerchantId::from_uuid(Uuid::from_u128(1)),
        profile: secret(1),
        policy: MerchantPolicy::default(),
        at: at(0),
    })
}

fn issue(number: u128) -> MerchantCommand {
    MerchantCommand::IssueApiKey { key_id: key(number), prefix: "wk_abc".to_owned(), secret: secret(9), at: at(1) }
}

/// Applies the commands; the names of the events of the last one.
fn when(commands: Vec<MerchantCommand>) -> (Merchant, Result<Vec<&'static str>, MerchantError>) {
    let mut merchant = Merchant::default();
    let mut last = Ok(Vec::new());
    for command in commands {
        last = decide(&merchant, command).map(|events| {
            let names = events.iter().map(MerchantEvent::name).collect();
            events.into_iter().for_each(|event| evolve(&mut merchant, event));
            names
        });
    }
    (merchant, last)
}

#[test]
fn a_merchant_is_registered_once() {
    assert_eq!(when(vec![register()]).1, Ok(vec!["MerchantRegistered"]));
    assert_eq!(when(vec![register(), register()]).1, Err(MerchantError::AlreadyRegistered));
    assert_eq!(when(vec![issue(1)]).1, Err(MerchantError::NotFound));
}

#[test]
fn keys_are_issued_and_revoked_for_ever() {
    let revoke = |number| MerchantCommand::RevokeApiKey { key_id: key(number), at: at(2) };
    let (merchant, events) = when(vec![register(), issue(1), issue(2)]);
    assert_eq!(events, Ok(vec!["ApiKeyIssued"]));
    assert!(merchant.state().unwrap().accepts(key(1)) && !merchant.state().unwrap().accepts(key(3)));
    let (merchant, events) = when(vec![register(), issue(1), issue(2), revoke(1)]);
    assert_eq!(events, Ok(vec!["ApiKeyRevoked"]));
    assert!(!merchant.state().unwrap().accepts(key(1)) && merchant.state().unwrap().accepts(key(2)));
    assert_eq!(when(vec![register(), issue(1), revoke(1), revoke(1)]).1, Ok(vec![]));
    assert_eq!(when(vec![register(), issue(1), revoke(1), issue(1)]).1, Err(MerchantError::ApiKeyExists(key(1))));
    assert_eq!(when(vec![register(), revoke(1)]).1, Err(MerchantError::ApiKeyNotFound(key(1))));
}

#[test]
fn the_webhook_is_set_and_changed() {
    let configure = |url: Option<&str>, number| MerchantCommand::ConfigureWebhook {
        url: url.map(str::to_owned),
        secret: secret(number),
        at: at(3),
    };
    let url = Some("https://merchant.example/hook");
    assert_eq!(when(vec![register(), configure(url, 1)]).1, Ok(vec!["WebhookConfigured"]));
    assert_eq!(when(vec![register(), configure(url, 1), configure(url, 1)]).1, Ok(vec![]));
    let (merchant, events) = when(vec![register(), configure(url, 1), configure(None, 2)]);
    assert_eq!(events, Ok(vec!["WebhookConfigured"]));
    assert_eq!(merchant.state().unwrap().webhook.as_ref().unwrap().url, None);
}

#[test]
fn a_suspended_merchant_accepts_no_key_until_reinstated() {
    let suspend = || MerchantCommand::Suspend { reason: "fraud".to_owned(), at: at(4) };
    let reinstate = || MerchantCommand::Reinstate { at: at(5) };
    let (merchant, events) = when(vec![register(), issue(1), suspend()]);
    assert_eq!(events, Ok(vec!["MerchantSuspended"]));
    assert!(!merchant.state().unwrap().accepts(key(1)));
    assert_eq!(when(vec![register(), suspend(), suspend()]).1, Ok(vec![]));
    let (merchant, events) = when(vec![register(), issue(1), suspend(), reinstate()]);
    assert_eq!(events, Ok(vec!["MerchantReinstated"]));
    assert!(merchant.state().unwrap().accepts(key(1)));
    assert_eq!(when(vec![register(), reinstate()]).1, Ok(vec![]));
}

#[test]
fn a_forgotten_merchant_loses_its_keys_and_changes_no_more() {
    let forget = || MerchantCommand::Forget { at: at(6) };
    let revoke = |number| MerchantCommand::RevokeApiKey { key_id: key(number), at: at(7) };
    let (merchant, events) = when(vec![register(), issue(1), issue(2), issue(3), revoke(2), forget()]);
    assert_eq!(events, Ok(vec!["ApiKeyRevoked", "ApiKeyRevoked", "MerchantForgotten"]));
    let state = merchant.state().unwrap();
    assert!((1..4).all(|number| !state.accepts(key(number)) && state.api_keys[&key(number)].revoked_at.is_some()));
    assert_eq!(state.forgotten_at, Some(at(6)));

    let forgotten = |command| when(vec![register(), issue(1), forget(), command]).1;
    assert_eq!(forgotten(forget()), Ok(vec![]));
    assert_eq!(forgotten(revoke(1)), Ok(vec![]));
    assert_eq!(forgotten(revoke(2)), Err(MerchantError::ApiKeyNotFound(key(2))));
    let suspend = MerchantCommand::Suspend { reason: "fraud".to_owned(), at: at(7) };
    let configure = MerchantCommand::ConfigureWebhook { url: None, secret: secret(2), at: at(7) };
    for command in [issue(9), suspend, MerchantCommand::Reinstate { at: at(7) }, configure] {
        assert_eq!(forgotten(command), Err(MerchantError::Forgotten));
    }
    assert_eq!(when(vec![register(), forget()]).1, Ok(vec!["MerchantForgotten"]));
    assert_eq!(when(vec![forget()]).1, Err(MerchantError::NotFound));
}
