//! A chain like BSC: a block every 0.45 s, `finalized` two blocks behind the head.

use std::time::Duration;

use wopay_chain_watchers::{Finality, FinalityTag};
use wopay_domain::payment::PaymentStatus;
use wopay_testkit::Mining;

use crate::support::World;

#[tokio::test]
async fn finalized_two_blocks_back_clamps_one_confirmation() {
    let world = World::on_chain(Mining::OnDemand, &["--slots-in-an-epoch", "1"]).await;
    let (payment, address) = world.payment(100, 1).await;
    let mut config = world.config();
    config.finality = Finality::Tag(FinalityTag::Finalized);
    let _watching = world.watch_with(&config);
    let paid = world.pay(&address, 100).await.block;
    for behind in [0, 1] {
        assert_eq!(world.anvil.height().await, paid + behind);
        world.caught_up().await;
        world.outbox_empty().await;
        let status = world.book.until_status(payment, PaymentStatus::Confirming).await.status;
        assert_eq!(status, PaymentStatus::Confirming, "{behind} blocks above it");
        world.anvil.mine(1).await;
    }
    world.book.until_status(payment, PaymentStatus::Completed).await;
    let finalized: i64 =
        sqlx::query_scalar("SELECT finalized_height FROM chain_heads").fetch_one(world.pool()).await.unwrap();
    assert_eq!(finalized, i64::try_from(paid).unwrap());
}

#[tokio::test]
async fn a_chain_that_makes_two_blocks_a_second_is_followed() {
    let world = World::on_chain(Mining::Every(Duration::from_millis(450)), &["--slots-in-an-epoch", "1"]).await;
    let mut config = world.config();
    config.finality = Finality::Tag(FinalityTag::Finalized);
    config.poll_interval = Duration::from_millis(100);
    let watching = world.watch_with(&config);
    let mut payments = Vec::new();
    for _ in 0..5 {
        let (payment, address) = world.payment(1, 3).await;
        world.anvil.submit(&world.anvil.accounts[0], &world.usdt.transfer(&address, world.usdt.whole(1))).await;
        payments.push(payment);
    }
    for payment in payments {
        world.book.until_status(payment, PaymentStatus::Completed).await;
    }
    watching.until("close to the head", |health| health.lag_blocks().is_some_and(|lag| lag <= 1)).await;
}
