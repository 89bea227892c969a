//! Losers are answered alone and never harm those who share their append.

use std::collections::HashMap;

use futures::future::join_all;
use sqlx::PgPool;
use uuid::Uuid;
use wopay_commands::store::{Appended, LedgerStore};
use wopay_commands::{AppendError, Claim, ClaimKind, ExecuteError, InvalidAppend, Ledger};
use wopay_domain::merchant::{Merchant, MerchantEvent, MerchantSuspended};
use wopay_domain::payment::PaymentError;

use crate::support::{assert_whole, count, create, ledger, merchant_id, metadata, now};

/// An event that fits any stream; these tests are about the store.
fn event(reason: &str) -> MerchantEvent {
    MerchantEvent::MerchantSuspended(MerchantSuspended { reason: reason.to_owned(), at: now() })
}

fn no_metadata() -> HashMap<String, String> {
    HashMap::new()
}

async fn append(store: &LedgerStore, id: &str, expected: i64, claims: Vec<Claim>) -> Result<Appended, AppendError> {
    store.append::<Merchant>(id, expected, &[event("a"), event("b")], &no_metadata(), claims).await
}

/// One wave of commands, good and bad mixed, spread over two write sides, all at once.
async fn wave(ledgers: &[Ledger; 2], stream: &str, sequence: i64, taken: &Claim) -> Vec<String> {
    let commands = (0..48_usize).map(|index| {
        let store = ledgers[index % 2].store();
        async move {
            let fresh = Uuid::now_v7().to_string();
            match index % 6 {
                0 => {
                    let own = Claim::merchant_email(&fresh);
                    append(store, &fresh, 0, vec![own]).await.unwrap();
                    return Some(fresh);
                }
                1 => {
                    append(store, &fresh, 0, Vec::new()).await.unwrap();
                    return Some(fresh);
                }
                2 => {
                    let error = append(store, stream, sequence - 1, Vec::new()).await.unwrap_err();
                    let expected = sequence - 1;
                    assert!(matches!(error, AppendError::Conflict { expected: e, found } if e == expected && found == sequence));
                }
                3 => {
                    let error = append(store, stream, sequence + 1, Vec::new()).await.unwrap_err();
                    assert!(matches!(error, AppendError::Conflict { found, .. } if found == sequence), "a hole in a stream");
                }
                4 => {
                    let own = Claim::merchant_email(&fresh);
                    let error = append(store, &fresh, 0, vec![own, taken.clone()]).await.unwrap_err();
                    let AppendError::ClaimTaken(lost) = error else { panic!("{error:?}") };
                    assert_eq!((&lost.claim, lost.holder.as_str()), (taken, stream));
                }
                _ => {
                    // Stale and taken: the stale sequence is the reason, as the command must be decided anew anyway.
                    let error = append(store, stream, sequence - 1, vec![taken.clone()]).await.unwrap_err();
                    assert!(matches!(error, AppendError::Conflict { .. }));
                }
            }
            None
        }
    });
    join_all(commands).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losers_do_not_harm_their_batch_mates() {
    let database = wopay_testkit::database().await;
    let ledgers = [ledger(&database.pool), ledger(&database.extra_pool(2).await)];
    let stream = Uuid::now_v7().to_string();
    let taken = Claim::merchant_email("taken");
    append(ledgers[0].store(), &stream, 0, vec![taken.clone()]).await.unwrap();
    let mut winners = Vec::new();
    for _ in 0..20 {
        winners.extend(wave(&ledgers, &stream, 2, &taken).await);
    }
    assert_eq!(winners.len(), 20 * 16);
    let whole = "SELECT count(*) FROM (SELECT aggregate_id FROM events GROUP BY 1 HAVING count(*) = 2) AS streams";
    assert_eq!(count(&database.pool, whole).await, 20 * 16 + 1, "two events for every winner, none for a loser");
    assert_eq!(count(&database.pool, "SELECT count(*) FROM claims").await, 20 * 8 + 1, "no claim of a loser");
    assert_whole(&database.pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_on_one_stream_or_claim_exactly_one_wins_each_time() {
    let database = wopay_testkit::database().await;
    let ledgers = [ledger(&database.pool), ledger(&database.extra_pool(2).await)];
    let stream = Uuid::now_v7().to_string();
    for round in 0..20_i64 {
        let rivals = (0..16_usize).map(|index| {
            let store = ledgers[index % 2].store();
            let stream = stream.as_str();
            async move { append(store, stream, round * 2, Vec::new()).await.is_ok() }
        });
        assert_eq!(join_all(rivals).await.into_iter().filter(|won| *won).count(), 1, "a sequence is given once");
        let rivals = (0..16_usize).map(|index| {
            let store = ledgers[index % 2].store();
            let claim = Claim::merchant_email(&round.to_string());
            async move { append(store, &Uuid::now_v7().to_string(), 0, vec![claim]).await.is_ok() }
        });
        assert_eq!(join_all(rivals).await.into_iter().filter(|won| *won).count(), 1, "a claim is given once");
    }
    assert_whole(&database.pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_take_the_same_claims_in_opposite_order_do_not_wait_for_each_other() {
    let database = wopay_testkit::database().await;
    let ledgers = [ledger(&database.pool), ledger(&database.extra_pool(2).await)];
    for round in 0..20_u32 {
        let rivals = (0..16_usize).map(|index| {
            let store = ledgers[index % 2].store();
            let mut claims: Vec<Claim> =
                (0..4).map(|number| Claim::merchant_email(&format!("{round}-{number}"))).collect();
            if index % 4 > 1 {
                claims.reverse();
            }
            async move { append(store, &Uuid::now_v7().to_string(), 0, claims).await }
        });
        let results = join_all(rivals).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "one has them all");
        for lost in results.into_iter().filter_map(Result::err) {
            assert!(matches!(lost, AppendError::ClaimTaken(_)), "the database gave one up: {lost:?}");
        }
    }
    assert_whole(&database.pool).await;
}

#[tokio::test]
async fn what_can_never_be_written_is_refused_before_it_joins_others() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let store = ledger.store();
    let refused = |result: Result<Appended, AppendError>| match result.unwrap_err() {
        AppendError::Invalid(why) => why,
        other => panic!("{other:?}"),
    };
    let none: [MerchantEvent; 0] = [];
    assert_eq!(
        refused(store.append::<Merchant>("a", 0, &none, &no_metadata(), Vec::new()).await),
        InvalidAppend::Empty
    );
    let many = vec![event("x"); 513];
    let too_many = InvalidAppend::TooManyEvents { got: 513, max: 512 };
    assert_eq!(refused(store.append::<Merchant>("a", 0, &many, &no_metadata(), Vec::new()).await), too_many);
    let large = [event(&"x".repeat(5 << 20))];
    let too_large = refused(store.append::<Merchant>("a", 0, &large, &no_metadata(), Vec::new()).await);
    assert!(matches!(too_large, InvalidAppend::TooLarge { .. }));
    assert_eq!(refused(append(store, "a\0b", 0, Vec::new()).await), InvalidAppend::Key("aggregate id"));
    let nul = vec![Claim::merchant_email("a\0b")];
    assert_eq!(refused(append(store, "a", 0, nul).await), InvalidAppend::Key("merchant-email"));
    let long = vec![Claim::merchant_email(&"x".repeat(1025))];
    assert_eq!(refused(append(store, "a", 0, long).await), InvalidAppend::Key("merchant-email"));
    let twice = vec![Claim::merchant_email("same"), Claim::merchant_email("same")];
    assert_eq!(refused(append(store, "a", 0, twice).await), InvalidAppend::DoubledClaim("merchant-email"));
    assert_eq!(count(&database.pool, "SELECT count(*) FROM events").await, 0);
}

#[tokio::test]
async fn text_that_postgres_finds_odd_comes_back_as_it_was() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    for odd in ["a\0b", "\u{ffff}", "\\u0000", "\"'{},[]NULL", "\u{1f4b8}", "line\nbreak\u{7f}\u{1}"] {
        let id = Uuid::now_v7().to_string();
        ledger.store().append::<Merchant>(&id, 0, &[event(odd)], &no_metadata(), Vec::new()).await.unwrap();
        let events = cqrs_es::EventStore::<Merchant>::load_events(ledger.store(), &id).await.unwrap();
        let MerchantEvent::MerchantSuspended(read) = &events[0].payload else { panic!() };
        assert_eq!(read.reason, odd);
    }
}

/// A constraint that the committer cannot know of, in the place of anything the database may dislike.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_the_database_refuses_fails_alone() {
    let database = wopay_testkit::database().await;
    forbid_keys_that_start_with_bad(&database.pool).await;
    let ledger = ledger(&database.pool);
    let commands = (0..40).map(|index| {
        let store = ledger.store();
        let claim = Claim::merchant_email(&format!("{}-{index}", if index % 10 == 3 { "bad" } else { "good" }));
        async move { (index, append(store, &Uuid::now_v7().to_string(), 0, vec![claim]).await) }
    });
    for (index, outcome) in join_all(commands).await {
        match outcome {
            Ok(_) => assert_ne!(index % 10, 3),
            Err(AppendError::Rejected(_)) => assert_eq!(index % 10, 3),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_whole(&database.pool).await;
}

async fn forbid_keys_that_start_with_bad(pool: &PgPool) {
    let statement = "ALTER TABLE claims ADD CONSTRAINT no_bad CHECK (key NOT LIKE 'bad%')";
    sqlx::query(statement).execute(pool).await.unwrap();
}

#[tokio::test]
async fn a_taken_address_or_id_is_named() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let first = create(merchant_id(), "1");
    ledger.create_payment(first.clone(), &metadata(), None).await.unwrap();
    let mut same_address = create(merchant_id(), "2");
    same_address.terms.address.clone_from(&first.terms.address);
    match ledger.create_payment(same_address, &metadata(), None).await.unwrap_err() {
        ExecuteError::AddressTaken { address, holder } => {
            assert_eq!((address, holder), (first.terms.address.clone(), first.payment_id.to_string()));
        }
        other => panic!("{other:?}"),
    }
    let mut same_id = create(merchant_id(), "3");
    same_id.payment_id = first.payment_id;
    let error = ledger.create_payment(same_id, &metadata(), None).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Domain(PaymentError::AlreadyExists)));
    let mut odd = create(merchant_id(), "4");
    odd.terms.address = odd.terms.address.to_uppercase();
    let error = ledger.create_payment(odd, &metadata(), None).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Address(_)));
    assert_eq!(ClaimKind::Deposit(wopay_domain::ChainFamily::Evm).as_str(), "deposit:evm");
    assert_whole(&database.pool).await;
}
