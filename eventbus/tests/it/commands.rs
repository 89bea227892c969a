//! Commands: at least once, whatever NATS does.

use std::collections::HashSet;
use std::time::Duration;

use wopay_eventbus::{Bus, BusError, CommandConsumer, CommandDelivery, CommandMessage, subjects};
use wopay_testkit::{eventually, nats};

use crate::support::SOON;

const KIND: &str = "payment.observe_deposit";

fn command(id: usize) -> CommandMessage {
    CommandMessage {
        subject_kind: KIND.to_owned(),
        message_id: format!("deposit@{id}"),
        body: id.to_string().into_bytes(),
    }
}

async fn next(consumer: &mut CommandConsumer) -> Vec<CommandDelivery> {
    tokio::time::timeout(SOON, consumer.next_batch(100)).await.unwrap()
}

/// Receives and acknowledges until `count` different bodies were seen.
async fn receive(consumer: &mut CommandConsumer, count: usize) -> HashSet<Vec<u8>> {
    let mut bodies = HashSet::new();
    while bodies.len() < count {
        for delivery in next(consumer).await {
            assert_eq!(delivery.kind, KIND);
            bodies.insert(delivery.body);
            delivery.acker.ack().await;
        }
    }
    bodies
}

async fn assert_all_stored(bus: &Bus, commands: Vec<CommandMessage>) {
    for (index, result) in bus.publish_commands(commands).await.into_iter().enumerate() {
        result.unwrap_or_else(|error| panic!("command {index}: {error}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_is_stored_once_and_reaches_its_ledger() {
    let nats = nats().await;
    let bus = Bus::connect(&nats.url, "main").await.unwrap();
    let other = Bus::connect(&nats.url, "other").await.unwrap();
    let (mut inbox, mut other_inbox) = (bus.command_consumer("inbox"), other.command_consumer("inbox"));
    assert_all_stored(&bus, (0..1_000).map(command).collect()).await;
    assert_all_stored(&bus, (0..1_000).map(command).collect()).await;
    assert_all_stored(&other, (0..10).map(command).collect()).await;
    assert_eq!(receive(&mut inbox, 1_000).await.len(), 1_000);
    assert_eq!(receive(&mut other_inbox, 10).await.len(), 10);
    let jetstream = async_nats::jetstream::new(async_nats::connect(&nats.url).await.unwrap());
    eventually("an empty queue", SOON, async || {
        let stream = jetstream.get_stream(subjects::COMMANDS_STREAM).await.unwrap();
        (stream.cached_info().state.messages == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_decides_what_becomes_of_a_command() {
    let nats = nats().await;
    let bus = Bus::connect(&nats.url, "main").await.unwrap();
    let mut inbox = bus.command_consumer("inbox");
    assert_all_stored(&bus, vec![command(1), command(2)]).await;
    let mut deliveries = Vec::new();
    while deliveries.len() < 2 {
        deliveries.extend(next(&mut inbox).await);
    }
    let [first, second] = deliveries.try_into().unwrap();
    assert_eq!((first.message_id.as_deref(), first.attempt), (Some("deposit@1"), 1));
    first.acker.nak(Duration::from_millis(50)).await;
    second.acker.term("it makes no sense").await;
    let again = next(&mut inbox).await.remove(0);
    assert_eq!((again.body.as_slice(), again.attempt), (b"1".as_slice(), 2));
    again.acker.ack().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_is_no_subject_is_refused_alone() {
    let nats = nats().await;
    let bus = Bus::connect(&nats.url, "main").await.unwrap();
    let wrong = CommandMessage { subject_kind: "payment.*".to_owned(), ..command(2) };
    let results = bus.publish_commands(vec![command(1), wrong, command(3)]).await;
    assert!(matches!(results.as_slice(), [Ok(()), Err(BusError::CommandKind(_)), Ok(())]), "{results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_made_again_when_it_is_deleted() {
    let nats = nats().await;
    let bus = Bus::connect(&nats.url, "main").await.unwrap();
    let mut inbox = bus.command_consumer("inbox");
    let jetstream = async_nats::jetstream::new(async_nats::connect(&nats.url).await.unwrap());
    for round in 0..3 {
        assert_all_stored(&bus, (round * 10..round * 10 + 10).map(command).collect()).await;
        receive(&mut inbox, 10).await;
        // The inbox may have made it again already, or not.
        jetstream.delete_stream(subjects::COMMANDS_STREAM).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nats_a_publish_fails_at_once_and_later_works() {
    let mut nats = nats().await;
    let bus = Bus::connect(&nats.url, "main").await.unwrap();
    let mut inbox = bus.command_consumer("inbox");
    assert_all_stored(&bus, vec![command(1)]).await;
    receive(&mut inbox, 1).await;
    nats.stop().await;
    eventually("the loss to be noticed", SOON, async || (!bus.is_connected()).then_some(())).await;
    let results = bus.publish_commands(vec![command(2)]).await;
    assert!(matches!(results.as_slice(), [Err(BusError::Disconnected)]), "{results:?}");
    nats.start_again().await;
    eventually("the command to be taken", SOON, async || bus.publish_commands(vec![command(2)]).await.remove(0).ok())
        .await;
    assert_eq!(receive(&mut inbox, 1).await, HashSet::from([b"2".to_vec()]));
}

#[tokio::test]
async fn a_ledger_with_an_impossible_name_is_refused() {
    assert!(matches!(Bus::connect("nats://127.0.0.1:1", "a.b").await, Err(BusError::LedgerName(_))));
}
