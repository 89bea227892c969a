//! Postgres is restored to an earlier point: the stream then holds a future that never happened.

use sqlx::Executor;
use wopay_testkit::lift_protection;

use crate::support::{Tracer, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_ledger_is_not_fed_its_former_future() {
    let world = World::new().await;
    let tracer = Tracer::new("tracer");
    let (follower, status) = world.follower(&tracer);
    let relay = world.relay();
    world.wait_until_fed(&status).await;
    world.wait_until_led().await;
    let kept = world.append(50).await;
    world.assert_applied_exactly_once("tracer").await;
    follower.kill().await;
    // Announced to the follower's durable consumer, and never fetched.
    world.append(100).await;
    world.wait_until_announced().await;
    relay.kill().await;

    lift_protection(world.pool()).await;
    world.pool().execute(format!("DELETE FROM events WHERE position > {kept}").as_str()).await.unwrap();
    world.pool().execute(format!("UPDATE ledger_head SET position = {kept}").as_str()).await.unwrap();

    world.append(30).await;
    let (follower, status) = world.follower(&tracer);
    let relay = world.relay();
    world.wait_until_fed(&status).await;
    world.load(200, 10).await.unwrap();
    world.assert_applied_exactly_once("tracer").await;
    follower.stop().await;
    relay.stop().await;
}
