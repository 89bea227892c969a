//! What holds for every history.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use wopay_projections::{ReadModel, rebuild};

use crate::support::{NoProfiles, TestLedger, assert_projected, clear, run, snapshot, steps};

/// The read side shows what the aggregates hold; how the events were cut into batches leaves no trace; a rebuild gives
/// the same rows, whole and model by model.
#[test]
fn rows_follow_from_the_events_alone() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = TestRunner::new(Config { cases: 32, failure_persistence: None, ..Config::default() });
    let sizes = prop::collection::vec(1_i64..6, 1..5);
    let property = |(steps, sizes): (Vec<_>, Vec<i64>)| {
        runtime.block_on(async {
            let mut ledger = TestLedger::new().await;
            run(&mut ledger.book, &steps);
            ledger.write().await;
            ledger.project_in(&sizes).await;
            assert_projected(&ledger.pool, &ledger.book).await;
            let rows = snapshot(&ledger.pool).await;

            for other_sizes in [[1], [i64::from(u16::MAX)]] {
                clear(&ledger.pool).await;
                ledger.project_in(&other_sizes).await;
                assert_eq!(snapshot(&ledger.pool).await, rows, "in batches of {other_sizes:?}");
            }
            for name in ReadModel::ALL.map(|model| Some(model.as_str())).into_iter().chain([None]) {
                rebuild(&ledger.pool, &NoProfiles, name, |_| {}).await.unwrap();
                assert_eq!(snapshot(&ledger.pool).await, rows, "rebuilt {name:?}");
            }
        });
        Ok(())
    };
    runner.run(&(steps(), sizes), property).unwrap();
}
