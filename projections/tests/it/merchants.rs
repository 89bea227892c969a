//! Merchants: names from the vault, keys by their prefix.

use uuid::Uuid;
use wopay_domain::merchant::{MerchantCommand, MerchantPolicy, RegisterMerchant};
use wopay_domain::{ApiKeyId, MerchantId, SecretRef};
use wopay_eventbus::HandlerError;
use wopay_projections::{merchants, rebuild};
use wopay_vault::{MasterKey, Vault, VaultKey, purpose};

use crate::support::{TestLedger, at, merchant_id};

fn register(ledger: &mut TestLedger, id: MerchantId, profile: Uuid, second: u32) {
    let profile = SecretRef::from_uuid(profile);
    let register = RegisterMerchant { merchant_id: id, profile, policy: MerchantPolicy::default(), at: at(second) };
    ledger.book.merchant(id, MerchantCommand::Register(register)).unwrap();
}

fn key() -> VaultKey {
    MasterKey::generate().subkey(purpose::SECRETS)
}

#[tokio::test]
async fn a_profile_is_shown_until_it_is_forgotten() {
    let vault_key = key();
    let mut ledger = TestLedger::with_profiles(|pool| Vault::new(pool.clone(), vault_key.clone())).await;
    let vault = Vault::new(ledger.pool.clone(), vault_key);
    let id = merchant_id(1);
    let profile = br#"{"name": "Tea Shop", "email": "tea@shop.example"}"#;
    let reference = vault.store(id.as_uuid(), "profile", profile).await.unwrap();
    register(&mut ledger, id, reference, 0);
    register(&mut ledger, merchant_id(2), Uuid::from_u128(404), 0);
    ledger.project().await;
    let row = merchants::find(&ledger.pool, id).await.unwrap().unwrap();
    assert_eq!((row.name.as_str(), row.email.as_deref()), ("Tea Shop", Some("tea@shop.example")));
    let row = merchants::find(&ledger.pool, merchant_id(2)).await.unwrap().unwrap();
    assert_eq!((row.name.as_str(), row.email), ("[forgotten]", None));

    vault.delete_subject(id.as_uuid()).await.unwrap();
    rebuild(&ledger.pool, &vault, Some("merchants"), |_| {}).await.unwrap();
    let row = merchants::find(&ledger.pool, id).await.unwrap().unwrap();
    assert_eq!((row.name.as_str(), row.email), ("[forgotten]", None));
}

#[tokio::test]
async fn a_profile_under_another_key_is_poison() {
    let mut ledger = TestLedger::with_profiles(|pool| Vault::new(pool.clone(), key())).await;
    let vault = Vault::new(ledger.pool.clone(), key());
    let id = merchant_id(1);
    let reference = vault.store(id.as_uuid(), "profile", b"{}").await.unwrap();
    register(&mut ledger, id, reference, 0);
    ledger.write().await;
    let events = ledger.events().await;
    assert!(matches!(ledger.apply(&events).await, Err(HandlerError::Poison { position: 1, .. })));
}

#[tokio::test]
async fn the_newest_live_key_is_shown() {
    let mut ledger = TestLedger::new().await;
    let id = merchant_id(1);
    register(&mut ledger, id, Uuid::nil(), 0);
    let key = |number| ApiKeyId::from_uuid(Uuid::from_u128(number));
    let secret = |number| SecretRef::from_uuid(Uuid::from_u128(100 + number));
    for number in [1, 2] {
        let prefix = format!("wp_{number}");
        // The same moment: the order of issue decides.
        let issue = MerchantCommand::IssueApiKey { key_id: key(number), prefix, secret: secret(number), at: at(1) };
        ledger.book.merchant(id, issue).unwrap();
    }
    for (revoked, shown) in [(None, Some(2)), (Some(2), Some(1)), (Some(1), None)] {
        if let Some(number) = revoked {
            let revoke = MerchantCommand::RevokeApiKey { key_id: key(number), at: at(2) };
            ledger.book.merchant(id, revoke).unwrap();
        }
        ledger.project().await;
        let row = merchants::find(&ledger.pool, id).await.unwrap().unwrap();
        assert_eq!(row.api_key_prefix, shown.map(|number: u128| format!("wp_{number}")));
        assert_eq!(row.api_secret, shown.map(secret));
    }
}

#[tokio::test]
async fn the_list_is_paged() {
    let mut ledger = TestLedger::new().await;
    for number in 0..5 {
        register(&mut ledger, merchant_id(u128::from(number)), Uuid::nil(), number);
    }
    ledger.project().await;
    let first = merchants::list(&ledger.pool, None, 3).await.unwrap();
    let second = merchants::list(&ledger.pool, first.next.as_ref(), 3).await.unwrap();
    assert_eq!((first.as_of_position, second.next), (5, None));
    let ids: Vec<MerchantId> = first.items.into_iter().chain(second.items).map(|row| row.id).collect();
    assert_eq!(ids, [4, 3, 2, 1, 0].map(merchant_id));
}
