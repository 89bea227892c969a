//! The same request again, one after the other and all at once.

use std::sync::Arc;

use chrono::TimeDelta;
use futures::future::join_all;
use tokio::sync::Barrier;
use wopay_commands::{Created, ExecuteError, IdempotencyClaim};
use wopay_domain::payment::{CreatePayment, PaymentCommand, PaymentStatus};
use wopay_domain::{MerchantId, Money, PaymentId};

use crate::support::{address, assert_whole, asset, count, create, ledger, merchant_id, metadata, now};

fn key(name: &str, hash: &str) -> Option<IdempotencyClaim> {
    Some(IdempotencyClaim { key: name.to_owned(), request_hash: hash.to_owned() })
}

/// The same request as a process would make it again: another payment id, another address, another moment.
fn again(first: &CreatePayment) -> CreatePayment {
    let mut again = create(first.merchant_id, &first.order_id);
    again.terms.amount = first.terms.amount.clone();
    again.terms.callback_url.clone_from(&first.terms.callback_url);
    again
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_identical_creates_one_opens_and_63_find_it() {
    let database = wopay_testkit::database().await;
    let ledgers = [ledger(&database.pool), ledger(&database.extra_pool(4).await)];
    for with_key in [false, true] {
        let merchant = merchant_id();
        let start = Arc::new(Barrier::new(64));
        let callers = (0..64_usize).map(|caller| {
            let (ledger, start) = (ledgers[caller % 2].clone(), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                let idempotency = if with_key { key("k", "hash") } else { None };
                ledger.create_payment(create(merchant, "order"), &metadata(), idempotency).await.unwrap()
            })
        });
        let (mut opened, mut found) = (Vec::new(), Vec::new());
        for caller in callers.collect::<Vec<_>>() {
            match caller.await.unwrap() {
                Created::New { payment, .. } => opened.push(payment),
                Created::Existing { payment } => found.push(payment),
            }
        }
        assert_eq!((opened.len(), found.len()), (1, 63));
        assert!(found.iter().all(|payment| *payment == opened[0]));
    }
    assert_eq!(count(&database.pool, "SELECT count(*) FROM events").await, 2);
    assert_whole(&database.pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_creates_with_different_terms_one_opens_and_63_conflict_with_it() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let merchant = merchant_id();
    let requests = (1..=64).map(|amount| {
        let mut wanted = create(merchant, "order");
        wanted.terms.amount = Money::new(amount, asset().id);
        let ledger = ledger.clone();
        async move { ledger.create_payment(wanted, &metadata(), None).await }
    });
    let (opened, lost): (Vec<_>, Vec<_>) = join_all(requests).await.into_iter().partition(Result::is_ok);
    let opened: Vec<PaymentId> = opened
        .into_iter()
        .map(|created| match created.unwrap() {
            Created::New { payment, .. } => payment.id,
            Created::Existing { .. } => panic!("no two have the same terms"),
        })
        .collect();
    assert_eq!((opened.len(), lost.len()), (1, 63));
    for error in lost {
        let error = error.unwrap_err();
        assert!(matches!(error, ExecuteError::OrderConflict { payment_id } if payment_id == opened[0]), "{error:?}");
    }
    assert_whole(&database.pool).await;
}

#[tokio::test]
async fn each_term_counts_and_nothing_else_does() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let first = create(merchant_id(), "order");
    ledger.create_payment(first.clone(), &metadata(), None).await.unwrap();
    let same = ledger.create_payment(again(&first), &metadata(), None).await.unwrap();
    assert!(matches!(same, Created::Existing { payment } if payment.id == first.payment_id));
    let changes: [fn(&mut CreatePayment); 4] = [
        |other| other.terms.amount = Money::new(1, asset().id),
        |other| other.terms.callback_url = None,
        |other| other.terms.callback_url = Some("https://other.example".to_owned()),
        |other| other.terms.expires_at += TimeDelta::seconds(1),
    ];
    for change in changes {
        let mut other = again(&first);
        change(&mut other);
        let error = ledger.create_payment(other, &metadata(), None).await.unwrap_err();
        assert!(matches!(error, ExecuteError::OrderConflict { payment_id } if payment_id == first.payment_id));
    }
    let mut of_another_merchant = again(&first);
    of_another_merchant.merchant_id = merchant_id();
    let created = ledger.create_payment(of_another_merchant, &metadata(), None).await.unwrap();
    assert!(matches!(created, Created::New { .. }));
    assert_whole(&database.pool).await;
}

#[tokio::test]
async fn an_idempotency_key_is_looked_at_before_the_order() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let first = create(merchant_id(), "order");
    ledger.create_payment(first.clone(), &metadata(), key("k", "one")).await.unwrap();
    // The same hash is the same request, whatever it says.
    let same = ledger.create_payment(again(&first), &metadata(), key("k", "one")).await.unwrap();
    assert!(matches!(same, Created::Existing { payment } if payment.id == first.payment_id));
    // Another hash is a mistake, also when the order and its terms are the same.
    let error = ledger.create_payment(again(&first), &metadata(), key("k", "two")).await.unwrap_err();
    assert!(matches!(error, ExecuteError::IdempotencyMismatch { payment_id } if payment_id == first.payment_id));
    let other_order = create(first.merchant_id, "other");
    let error = ledger.create_payment(other_order, &metadata(), key("k", "two")).await.unwrap_err();
    assert!(matches!(error, ExecuteError::IdempotencyMismatch { .. }));
    // Another key with the order and terms that are known: the order answers.
    let same = ledger.create_payment(again(&first), &metadata(), key("l", "one")).await.unwrap();
    assert!(matches!(same, Created::Existing { payment } if payment.id == first.payment_id));
    // Another merchant's key is another key.
    let created = ledger.create_payment(create(merchant_id(), "order"), &metadata(), key("k", "two")).await.unwrap();
    assert!(matches!(created, Created::New { .. }));
}

#[tokio::test]
async fn an_existing_payment_is_shown_as_it_is_now() {
    let database = wopay_testkit::database().await;
    let ledgers = [ledger(&database.pool), ledger(&database.extra_pool(2).await)];
    let merchant: MerchantId = merchant_id();
    let first = create(merchant, "order");
    let id = first.payment_id;
    ledgers[0].create_payment(first.clone(), &metadata(), None).await.unwrap();
    // Known to the first process, then changed by the second.
    ledgers[0].execute_payment(id, PaymentCommand::Cancel { at: now() }, &metadata()).await.unwrap();
    let unchanged = ledgers[1].execute_payment(id, PaymentCommand::Cancel { at: now() }, &metadata()).await.unwrap();
    assert_eq!((unchanged.position, unchanged.sequence), (None, 2));
    let mut wanted = again(&first);
    wanted.terms.address = address();
    for ledger in &ledgers {
        let Created::Existing { payment } = ledger.create_payment(wanted.clone(), &metadata(), None).await.unwrap()
        else {
            panic!("opened twice");
        };
        assert_eq!(payment.status, PaymentStatus::Cancelled);
    }
}
