//! NATS goes away, hangs, forgets, and comes back, under load; connections to Postgres die.

use std::str::FromStr;
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use wopay_eventbus::{FollowerStatus, subjects};
use wopay_testkit::eventually;

use crate::support::{LEDGER, Running, SOON, Tracer, World};

struct Station {
    world: World,
    running: Vec<Running>,
    status: FollowerStatus,
}

impl Station {
    /// A relay and two followers, in good weather.
    async fn new() -> Self {
        let world = World::new().await;
        let (first, status) = world.follower(&Tracer::new("first"));
        let (second, _) = world.follower(&Tracer::new("second"));
        let running = vec![world.relay(), first, second];
        world.wait_until_fed(&status).await;
        world.load(500, 10).await.unwrap();
        Self { world, running, status }
    }

    /// In good weather again: everything is applied, and by way of NATS.
    async fn assert_recovers(self) {
        self.world.assert_applied_exactly_once("first").await;
        self.world.assert_applied_exactly_once("second").await;
        self.world.wait_until_fed(&self.status).await;
        eventually("announcements", SOON, async || {
            self.world.append(1).await;
            tokio::time::timeout(Duration::from_secs(1), self.world.wait_until_announced()).await.ok()
        })
        .await;
        self.world.load(500, 10).await.unwrap();
        self.world.assert_applied_exactly_once("first").await;
        self.world.assert_applied_exactly_once("second").await;
        for running in self.running {
            running.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_deleted_under_load() {
    let station = Station::new().await;
    let jetstream = station.world.jetstream().await;
    let load = station.world.load(10_000, 10);
    let mut deleted = 0;
    while !load.is_finished() {
        deleted += i32::from(jetstream.delete_stream(subjects::events_stream(LEDGER)).await.is_ok());
        let exists = async || {
            let found = jetstream.get_stream(subjects::events_stream(LEDGER)).await;
            (found.is_ok_and(|stream| stream.cached_info().state.messages > 0) || load.is_finished()).then_some(())
        };
        eventually("the stream to be made again", SOON, exists).await;
    }
    load.await.unwrap();
    assert!(deleted > 0);
    station.assert_recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_purged_under_load() {
    let station = Station::new().await;
    let stream = station.world.jetstream().await.get_stream(subjects::events_stream(LEDGER)).await.unwrap();
    let load = station.world.load(5_000, 10);
    while !load.is_finished() {
        stream.purge().await.unwrap();
    }
    load.await.unwrap();
    station.assert_recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_is_down_for_a_while() {
    let mut station = Station::new().await;
    let load = station.world.load(4_000, 10);
    station.world.nats().stop().await;
    load.await.unwrap();
    // Without NATS, from Postgres.
    station.world.assert_applied_exactly_once("first").await;
    station.world.assert_applied_exactly_once("second").await;
    assert!(!station.status.is_fed());
    let load = station.world.load(2_000, 10);
    station.world.nats().start_again().await;
    load.await.unwrap();
    station.assert_recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_crashes_under_load() {
    let mut station = Station::new().await;
    let load = station.world.load(10_000, 10);
    for _ in 0..3 {
        station.world.nats().crash().await;
        station.world.nats().start_again().await;
        eventually("NATS to be back", SOON, async || station.world.bus.is_connected().then_some(())).await;
    }
    load.await.unwrap();
    station.assert_recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_comes_back_with_nothing() {
    let mut station = Station::new().await;
    let load = station.world.load(5_000, 10);
    station.world.nats().wipe().await;
    station.world.append(100).await;
    station.world.nats().start_again().await;
    load.await.unwrap();
    station.assert_recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_hangs() {
    let mut station = Station::new().await;
    station.world.nats().pause();
    station.world.load(1_000, 10).await.unwrap();
    station.world.assert_applied_exactly_once("first").await;
    station.world.assert_applied_exactly_once("second").await;
    station.world.nats().resume();
    station.assert_recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_is_not_there_at_the_start() {
    let mut world = World::new().await;
    world.nats().wipe().await;
    world.reconnect().await;
    assert!(!world.bus.is_connected());
    let tracer = Tracer::new("first");
    let (first, status) = world.follower(&tracer);
    let (second, _) = world.follower(&Tracer::new("second"));
    let running = vec![world.relay(), first, second];
    world.load(500, 10).await.unwrap();
    world.assert_applied_exactly_once("first").await;
    world.nats().start_again().await;
    Station { world, running, status }.assert_recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_postgres_die_under_load() {
    let world = World::new().await;
    let options = PgConnectOptions::from_str(&world.database.url).unwrap().application_name("victim");
    let pool = PgPoolOptions::new().max_connections(5).connect_with(options).await.unwrap();
    let (first, status) = world.follower_on(&pool, &Tracer::new("first"));
    let (second, _) = world.follower_on(&pool, &Tracer::new("second"));
    let running = vec![world.relay_on(&pool), first, second];
    let load = world.load(6_000, 10);
    while !load.is_finished() {
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'victim'";
        world.pool().execute(kill).await.unwrap();
        let before = status.position();
        eventually("the follower to go on", SOON, async || {
            (status.position() > before || load.is_finished()).then_some(())
        })
        .await;
    }
    load.await.unwrap();
    assert_eq!(status.poisoned(), None);
    Station { world, running, status }.assert_recovers().await;
}

#[tokio::test]
async fn user_and_password_of_the_address_are_used() {
    let nats = wopay_testkit::nats_with_password().await;
    let bus = wopay_eventbus::Bus::connect(&nats.url, "main").await.unwrap();
    assert!(bus.is_connected());
}
