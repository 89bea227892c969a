//! The handler under the real follower and relay, with rebuilds in between.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wopay_domain::PaymentId;
use wopay_domain::payment::PaymentCommand;
use wopay_eventbus::{AppendSignal, Bus, Follower, Relay};
use wopay_projections::{lag, rebuild};
use wopay_testkit::eventually;

use crate::support::{NoProfiles, TestLedger, assert_projected, at, create, merchant_id, settle, snapshot};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_follower_keeps_up_while_read_models_are_rebuilt() {
    let nats = wopay_testkit::nats().await;
    let mut ledger = TestLedger::new().await;
    let bus = Bus::connect(&nats.url, "main").await.unwrap();
    let token = CancellationToken::new();
    let relay = Relay::new(ledger.pool.clone(), bus.clone(), AppendSignal::default());
    let follower = Follower::new(ledger.pool.clone(), bus, Arc::new(ledger.handler()));
    let running = [tokio::spawn(relay.run(token.clone())), tokio::spawn(follower.run(token.clone()))];

    for round in 0..5_u32 {
        for number in round * 100..(round + 1) * 100 {
            let id = PaymentId::from_uuid(Uuid::from_u128(u128::from(number)));
            let create = create(id, merchant_id(0), &format!("order {number}"), 1_000_000, at(number));
            ledger.book.payment(id, PaymentCommand::Create(Box::new(create))).unwrap();
            if number % 3 == 0 {
                settle(&mut ledger.book, id, number, 1_000_000);
            }
        }
        ledger.write().await;
        rebuild(&ledger.pool, &NoProfiles, None, |_| {}).await.unwrap();
    }
    let pool = ledger.pool.clone();
    eventually("everything is applied", Duration::from_secs(30), async || {
        (lag(&pool).await.unwrap().events() == 0).then_some(())
    })
    .await;
    token.cancel();
    for task in running {
        task.await.unwrap();
    }
    assert_projected(&ledger.pool, &ledger.book).await;
    let rows = snapshot(&ledger.pool).await;
    rebuild(&ledger.pool, &NoProfiles, None, |_| {}).await.unwrap();
    assert!(snapshot(&ledger.pool).await == rows, "a rebuild gives other rows");
}
