//! A merchant's own events: all of them, in order, numbered without a gap.

use std::collections::BTreeMap;

use proptest::test_runner::{Config, TestRunner};
use sqlx::PgPool;
use wopay_domain::{MerchantId, RecordedEvent, deposit, merchant};
use wopay_projections::feed::{self, FeedRow};

use crate::support::{TestLedger, merchant_id, run, steps};

/// A feed, read in pages of `limit`.
async fn read(pool: &PgPool, merchant: MerchantId, limit: u16) -> Vec<FeedRow> {
    let mut rows: Vec<FeedRow> = Vec::new();
    loop {
        let last = rows.last().map_or(0, |row| row.feed_sequence);
        let page = feed::after(pool, merchant, last, limit).await.unwrap().value;
        if page.is_empty() {
            return rows;
        }
        rows.extend(page);
    }
}

/// The events of each merchant, picked out of the ledger by hand.
fn by_merchant(ledger: &TestLedger, events: Vec<RecordedEvent>) -> BTreeMap<MerchantId, Vec<RecordedEvent>> {
    let mut feeds: BTreeMap<MerchantId, Vec<RecordedEvent>> = BTreeMap::new();
    // Money that no payment claims is no merchant's.
    for event in events.into_iter().filter(|event| event.aggregate_type != deposit::AGGREGATE_TYPE) {
        let owner = if event.aggregate_type == merchant::AGGREGATE_TYPE {
            event.aggregate_id.parse().unwrap()
        } else {
            let (payment, _) = &ledger.book.payments[&event.aggregate_id.parse().unwrap()];
            payment.state().unwrap().merchant_id
        };
        feeds.entry(owner).or_default().push(event);
    }
    feeds
}

#[test]
fn a_feed_has_every_event_of_its_merchant_and_no_other() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = TestRunner::new(Config { cases: 16, failure_persistence: None, ..Config::default() });
    let property = |(steps, size, limit): (Vec<_>, i64, u16)| {
        runtime.block_on(async {
            let mut ledger = TestLedger::new().await;
            run(&mut ledger.book, &steps);
            ledger.write().await;
            ledger.project_in(&[size]).await;
            for (merchant, events) in by_merchant(&ledger, ledger.events().await) {
                let rows = read(&ledger.pool, merchant, limit).await;
                let sequences: Vec<i64> = rows.iter().map(|row| row.feed_sequence).collect();
                assert_eq!(sequences, (1..=i64::try_from(events.len()).unwrap()).collect::<Vec<_>>());
                for event in &events {
                    assert_eq!(feed::owner(&ledger.pool, event.position).await.unwrap(), Some(merchant));
                }
                assert_eq!(rows.into_iter().map(|row| row.event).collect::<Vec<_>>(), events);
            }
        });
        Ok(())
    };
    runner.run(&(steps(), 1_i64..9, 1_u16..40), property).unwrap();
}

#[tokio::test]
async fn nobody_owns_what_is_not_there() {
    let ledger = TestLedger::new().await;
    assert_eq!(feed::owner(&ledger.pool, 1).await.unwrap(), None);
    let empty = feed::after(&ledger.pool, merchant_id(0), 0, 10).await.unwrap();
    assert_eq!((empty.as_of_position, empty.value), (0, vec![]));
}
