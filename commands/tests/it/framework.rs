//! The event store behind `cqrs_es::CqrsFramework`, as anybody who knows that crate would use it.

use std::collections::HashMap;

use cqrs_es::{AggregateError, CqrsFramework, EventStore};
use uuid::Uuid;
use wopay_domain::SecretRef;
use wopay_domain::merchant::{Merchant, MerchantCommand, MerchantError, MerchantPolicy, RegisterMerchant};

use crate::support::{ledger, merchant_id, now};

#[tokio::test]
async fn the_framework_executes_through_the_store() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let framework = CqrsFramework::<Merchant, _>::new(ledger.store().clone(), Vec::new(), ());
    let merchant_id = merchant_id();
    let id = merchant_id.to_string();
    let register = || {
        let profile = SecretRef::from_uuid(Uuid::now_v7());
        MerchantCommand::Register(RegisterMerchant {
            merchant_id,
            profile,
            policy: MerchantPolicy::default(),
            at: now(),
        })
    };
    let suspend = |reason: &str| MerchantCommand::Suspend { reason: reason.to_owned(), at: now() };
    let metadata = HashMap::from([("actor".to_owned(), "operator".to_owned())]);
    framework.execute_with_metadata(&id, register(), metadata.clone()).await.unwrap();
    framework.execute(&id, suspend("one")).await.unwrap();
    framework.execute(&id, suspend("one")).await.unwrap();
    let refused = framework.execute(&id, register()).await.unwrap_err();
    assert!(matches!(refused, AggregateError::UserError(MerchantError::AlreadyRegistered)));
    let events = EventStore::<Merchant>::load_events(ledger.store(), &id).await.unwrap();
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(events[0].metadata, metadata);
    let state = ledger.merchant(merchant_id).await.unwrap().unwrap();
    assert_eq!(state.suspended.as_deref(), Some("one"));
}

#[tokio::test]
async fn a_stale_context_is_a_conflict() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let store = ledger.store();
    let id = merchant_id().to_string();
    let event = wopay_domain::merchant::MerchantEvent::MerchantSuspended(wopay_domain::merchant::MerchantSuspended {
        reason: "x".to_owned(),
        at: now(),
    });
    let context = EventStore::<Merchant>::load_aggregate(store, &id).await.unwrap();
    let stale = context.clone();
    let committed = store.commit(vec![event.clone(), event.clone()], context, HashMap::new()).await.unwrap();
    assert_eq!(committed.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2]);
    let conflict = store.commit(vec![event], stale, HashMap::new()).await.unwrap_err();
    assert!(matches!(conflict, AggregateError::AggregateConflict));
}
