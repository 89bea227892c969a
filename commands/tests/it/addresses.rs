//! No address is ever given out twice: not to many at once, not by several processes, not after crashes.

use std::collections::HashSet;

use sqlx::PgPool;
use wopay_commands::{AddressLeases, LeaseError};
use wopay_domain::ChainFamily;

use crate::support::count;

async fn fill(pool: &PgPool, family: ChainFamily, from: i64, to: i64) {
    sqlx::query(
        "INSERT INTO address_pool (family, idx, address) SELECT $1, i, $1 || '-' || i FROM generate_series($2, $3) i",
    )
    .bind(family.as_str())
    .bind(from)
    .bind(to - 1)
    .execute(pool)
    .await
    .unwrap();
}

/// Takes until the pool is used up.
async fn take_all(leases: AddressLeases) -> Vec<String> {
    let mut taken = Vec::new();
    loop {
        match leases.take(ChainFamily::Evm).await {
            Ok(address) => taken.push(address),
            Err(LeaseError::PoolEmpty(ChainFamily::Evm)) => return taken,
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_takers_in_several_processes_share_the_pool_without_a_double() {
    let database = wopay_testkit::database().await;
    fill(&database.pool, ChainFamily::Evm, 0, 1000).await;
    fill(&database.pool, ChainFamily::Solana, 0, 10).await;
    // A pool that grows meanwhile, so that ends of it are met in mid-flight.
    let grow = tokio::spawn({
        let pool = database.pool.clone();
        async move {
            for block in 0..20 {
                fill(&pool, ChainFamily::Evm, 1000 + block * 50, 1050 + block * 50).await;
            }
        }
    });
    let mut takers = Vec::new();
    for process in 0..4 {
        let leases = AddressLeases::new(database.extra_pool(2).await, [1, 7, 32, 100][process]);
        takers.extend((0..8).map(|_| tokio::spawn(take_all(leases.clone()))));
    }
    let mut taken = Vec::new();
    for taker in takers {
        taken.extend(taker.await.unwrap());
    }
    grow.await.unwrap();
    taken.extend(take_all(AddressLeases::new(database.pool.clone(), 16)).await);
    let distinct: HashSet<_> = taken.iter().collect();
    assert_eq!(distinct.len(), taken.len(), "an address was given twice");
    assert_eq!(taken.len(), 2000, "nobody crashed, so nothing is lost");
    assert_eq!(count(&database.pool, "SELECT next_idx FROM address_cursors WHERE family = 'evm'").await, 2000);
    let leases = AddressLeases::new(database.pool.clone(), 4);
    assert_eq!(leases.remaining(ChainFamily::Evm).await.unwrap(), 0);
    assert_eq!(leases.remaining(ChainFamily::Solana).await.unwrap(), 10, "another family has a pool of its own");
}

#[tokio::test]
async fn what_a_crashed_process_held_is_lost_and_not_given_again() {
    let database = wopay_testkit::database().await;
    fill(&database.pool, ChainFamily::Evm, 0, 100).await;
    let mut taken = HashSet::new();
    for _ in 0..10 {
        let leases = AddressLeases::new(database.pool.clone(), 10);
        for _ in 0..3 {
            assert!(taken.insert(leases.take(ChainFamily::Evm).await.unwrap()));
        }
    }
    assert_eq!(taken.len(), 30);
    let error = AddressLeases::new(database.pool.clone(), 10).take(ChainFamily::Evm).await.unwrap_err();
    assert!(matches!(error, LeaseError::PoolEmpty(ChainFamily::Evm)));
    fill(&database.pool, ChainFamily::Evm, 100, 101).await;
    let leases = AddressLeases::new(database.pool.clone(), 10);
    assert_eq!(leases.take(ChainFamily::Evm).await.unwrap(), "evm-100");
}

#[tokio::test]
async fn skipped_addresses_are_never_given_out() {
    let database = wopay_testkit::database().await;
    let leases = AddressLeases::new(database.pool.clone(), 2);
    assert_eq!(leases.skip(3).await.unwrap(), [], "there is nothing to skip");
    fill(&database.pool, ChainFamily::Evm, 0, 20).await;
    assert_eq!(leases.skip(3).await.unwrap(), [("evm".to_owned(), 3)]);
    let first = leases.take(ChainFamily::Evm).await.unwrap();
    let index: i64 = sqlx::query_scalar("SELECT idx FROM address_pool WHERE address = $1")
        .bind(&first)
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(index, 3);
    let restored = AddressLeases::new(database.pool.clone(), 2);
    assert_eq!(restored.skip(10).await.unwrap(), [("evm".to_owned(), 15)], "the block of two counts as given out");
}

#[tokio::test]
async fn an_empty_pool_is_an_error_and_not_a_wait() {
    let database = wopay_testkit::database().await;
    let leases = AddressLeases::new(database.pool.clone(), 10);
    for family in [ChainFamily::Evm, ChainFamily::Solana] {
        assert!(matches!(leases.take(family).await.unwrap_err(), LeaseError::PoolEmpty(of) if of == family));
    }
}
