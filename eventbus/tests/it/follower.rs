//! The follower: killed, doubled, lied to, poisoned.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::HeaderMap;
use sqlx::Executor;
use tokio_util::sync::CancellationToken;
use wopay_domain::{RawJson, RecordedEvent};
use wopay_eventbus::{EventHandler, Follower, HandlerError, checkpoint, log, subjects};
use wopay_testkit::eventually;

use crate::support::{LEDGER, SOON, Tracer, World};

#[tokio::test(flavor = "multi_thread")]
async fn announced_events_are_applied_without_a_poll() {
    let world = World::new().await;
    let (tracer, relay) = (Tracer::new("tracer"), world.relay());
    let (follower, status) = world.follower(&tracer);
    world.wait_until_fed(&status).await;
    world.append(1).await;
    world.assert_applied_exactly_once("tracer").await;
    let mut fastest = Duration::MAX;
    for _ in 0..20 {
        let start = std::time::Instant::now();
        let position = world.append(1).await;
        tokio::time::timeout(SOON, status.reached(position)).await.unwrap();
        fastest = fastest.min(start.elapsed());
    }
    assert!(fastest < Duration::from_millis(200), "from append to applied: {fastest:?} at best");
    assert_eq!(tracer.commits.load(Ordering::SeqCst), i64::try_from(tracer.calls.load(Ordering::SeqCst)).unwrap());
    eventually("no lag", SOON, async || (status.lag() == 0).then_some(())).await;
    follower.stop().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_good_weather_nats_brings_the_events() {
    let world = World::new().await;
    let relay = world.relay();
    let (follower, status) = world.follower(&Tracer::new("tracer"));
    world.wait_until_fed(&status).await;
    world.wait_until_led().await;
    world.load(10_000, 10).await.unwrap();
    world.assert_applied_exactly_once("tracer").await;
    let (from_log, from_nats) = status.applied_from_log_and_nats();
    assert!(from_nats > from_log, "{from_nats} events came from NATS, {from_log} from the log");
    follower.stop().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_batch_it_applies_that_batch_once() {
    let world = World::new().await;
    let (tracer, relay) = (Tracer::new("tracer"), world.relay());
    for round in 0..5 {
        let (follower, status) = world.follower(&tracer);
        world.wait_until_fed(&status).await;
        let calls = tracer.calls.load(Ordering::SeqCst);
        tracer.hold.send_replace(true);
        world.append(50).await;
        tracer.wait_for_call(calls).await;
        follower.kill().await;
        tracer.hold.send_replace(false);
        assert!(world.applied("tracer").await <= round * 50, "nothing of the batch is there");
        let (follower, _) = world.follower(&tracer);
        world.assert_applied_exactly_once("tracer").await;
        follower.kill().await;
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_apply_as_one() {
    let world = World::new().await;
    let (tracer, other, relay) = (Tracer::new("tracer"), Tracer::new("tracer"), world.relay());
    let followers = [world.follower(&tracer).0, world.follower(&other).0];
    world.load(5_000, 5).await.unwrap();
    world.assert_applied_exactly_once("tracer").await;
    let [first, second] = followers;
    // The one that is left has the whole to itself.
    first.kill().await;
    world.load(1_000, 10).await.unwrap();
    world.assert_applied_exactly_once("tracer").await;
    for tracer in [tracer, other] {
        assert_eq!(tracer.refused.load(Ordering::SeqCst), 0, "an event was given to both");
    }
    second.stop().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_duplicates_and_disorder_in_the_stream_change_nothing() {
    let world = World::new().await;
    let (tracer, relay) = (Tracer::new("tracer"), world.relay());
    let (follower, status) = world.follower(&tracer);
    world.wait_until_fed(&status).await;
    let load = world.load(4_000, 10);
    let jetstream = world.jetstream().await;
    let mut round = 0;
    while !load.is_finished() {
        let head = log::head(world.pool()).await.unwrap();
        let mut events = log::read(world.pool(), (head - 20).max(0), 20).await.unwrap();
        events.reverse();
        let future =
            events.first().map(|event| RecordedEvent { position: event.position + 1_000_000, ..event.clone() });
        let forged = events.first().map(|event| RecordedEvent {
            position: event.position + 1,
            payload: RawJson::parse(r#"{"token": "forged"}"#.to_owned()).unwrap(),
            ..event.clone()
        });
        for event in events.iter().chain(&future).chain(&forged) {
            let mut headers = HeaderMap::new();
            headers.insert(subjects::POSITION_HEADER, event.position.to_string());
            let subject = subjects::subject_of(LEDGER, event);
            jetstream.publish_with_headers(subject, headers, serde_json::to_vec(event).unwrap().into()).await.unwrap();
        }
        let junk = format!("wopay.events.{LEDGER}.junk.{round}");
        jetstream.publish(junk, "not an event".into()).await.unwrap().await.unwrap();
        round += 1;
    }
    load.await.unwrap();
    assert!(round > 0);
    world.assert_applied_exactly_once("tracer").await;
    follower.stop().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_read_from_the_ledger() {
    let world = World::new().await;
    let tracer = Tracer::new("tracer");
    let (follower, status) = world.follower(&tracer);
    world.wait_until_fed(&status).await;
    // While it is busy with the first event, only the tenth is announced, by hand: there is no relay.
    tracer.hold.send_replace(true);
    world.append(1).await;
    tracer.wait_for_call(0).await;
    world.append(9).await;
    let last = log::read(world.pool(), 9, 1).await.unwrap().remove(0);
    world.announce(&last).await;
    tracer.hold.send_replace(false);
    world.assert_applied_exactly_once("tracer").await;
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_not_in_the_ledger_is_not_applied() {
    let world = World::new().await;
    let tracer = Tracer::new("tracer");
    let (follower, status) = world.follower(&tracer);
    world.wait_until_fed(&status).await;
    let forged = RecordedEvent {
        position: 1,
        aggregate_type: "payment".to_owned(),
        aggregate_id: "forged".to_owned(),
        sequence: 1,
        event_type: "PaymentCreated".to_owned(),
        event_version: "1.0".to_owned(),
        payload: RawJson::parse(r#"{"token": "forged"}"#.to_owned()).unwrap(),
        metadata: RawJson::parse("{}".to_owned()).unwrap(),
        recorded_at: chrono::Utc::now(),
    };
    world.announce(&forged).await;
    world.wait_until_acknowledged("tracer").await;
    assert_eq!(world.applied("tracer").await, 0);
    world.append(10).await;
    world.assert_applied_exactly_once("tracer").await;
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_not_believed() {
    let world = World::new().await;
    let relay = world.relay();
    let (follower, status) = world.follower(&Tracer::new("tracer"));
    world.wait_until_fed(&status).await;
    world.wait_until_led().await;
    eventually("an event to come from NATS", SOON, async || {
        world.append(1).await;
        (status.applied_from_log_and_nats().1 > 0).then_some(())
    })
    .await;
    // NATS is well, the follower trusts in it, and from now on nobody announces.
    relay.kill().await;
    world.load(100, 10).await.unwrap();
    world.assert_applied_exactly_once("tracer").await;
    assert!(status.is_fed());
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_stops_its_follower_and_no_other() {
    let world = World::new().await;
    let (relay, tracer, sick) = (world.relay(), Tracer::new("tracer"), Tracer::with("sick", 137, 0));
    let (follower, _) = world.follower(&tracer);
    let (poisoned, status) = world.follower(&sick);
    world.load(300, 10).await.unwrap();
    let reason = eventually("the poison to be found", SOON, async || status.poisoned()).await;
    assert_eq!(reason, "the event at position 137 cannot be applied: it tastes bad");
    tokio::time::timeout(SOON, poisoned.task).await.unwrap().unwrap();
    assert_eq!(status.position(), 136, "what stands before the poison is applied");
    assert_eq!(checkpoint::read(world.pool(), "sick").await.unwrap(), 136);
    assert_eq!(world.applied("sick").await, 136);
    world.load(300, 10).await.unwrap();
    world.assert_applied_exactly_once("tracer").await;
    // Repaired, it goes on where it stopped.
    let (healed, _) = world.follower(&Tracer::new("sick"));
    world.assert_applied_exactly_once("sick").await;
    for running in [follower, healed, relay] {
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_database_refuses_for_ever_is_poison() {
    let world = World::new().await;
    world.append(40).await;
    // What the handler makes of this event breaks a constraint.
    world.pool().execute("INSERT INTO trace (follower, position, token) VALUES ('tracer', 23, '')").await.unwrap();
    let (follower, status) = world.follower(&Tracer::new("tracer"));
    let reason = eventually("the poison to be found", SOON, async || status.poisoned()).await;
    assert!(reason.starts_with("the event at position 23 cannot be applied: "), "{reason}");
    assert!(reason.contains("trace_follower_position_key"), "{reason}");
    tokio::time::timeout(SOON, follower.task).await.unwrap().unwrap();
    assert_eq!(status.position(), 22);
}

struct Panicking;

#[async_trait::async_trait]
impl EventHandler for Panicking {
    fn name(&self) -> &str {
        "panicking"
    }

    async fn apply(&self, _: &mut sqlx::PgConnection, _: &[RecordedEvent]) -> Result<(), HandlerError> {
        panic!("on purpose")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_is_reported() {
    let world = World::new().await;
    let follower = Follower::new(world.pool().clone(), world.bus.clone(), Arc::new(Panicking));
    let status = follower.status();
    let task = tokio::spawn(follower.run(CancellationToken::new()));
    world.append(1).await;
    assert!(tokio::time::timeout(SOON, task).await.unwrap().is_err());
    assert_eq!(status.poisoned().as_deref(), Some("the handler panicked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_database_is_tried_again() {
    let world = World::new().await;
    let (tracer, relay) = (Tracer::with("tracer", 0, 3), world.relay());
    let (follower, status) = world.follower(&tracer);
    world.load(500, 10).await.unwrap();
    world.assert_applied_exactly_once("tracer").await;
    world.wait_until_fed(&status).await;
    tracer.fail_next(4);
    world.load(500, 10).await.unwrap();
    world.assert_applied_exactly_once("tracer").await;
    assert_eq!(status.poisoned(), None);
    follower.stop().await;
    relay.stop().await;
}
