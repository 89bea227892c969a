//! Where webhooks do not go, and what receivers cannot make us do.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wopay_testkit::{Answer, eventually, http_receiver};
use wopay_webhooks::{DelivererConfig, Policy, RetrySchedule};

use crate::world::{SOON, World, fast};

fn once(config: DelivererConfig) -> DelivererConfig {
    DelivererConfig { schedule: RetrySchedule::new(Vec::new()), ..config }
}

#[tokio::test]
async fn private_addresses_are_not_dialled_however_they_are_written() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    let port = receiver.url.rsplit(':').next().unwrap().to_owned();
    // Another private network is allowed, so that plain http is not what stops it.
    let policy = Policy { allow_networks: vec!["10.1.2.0/24".parse().unwrap()] };
    let _running = world.deliver(DelivererConfig { policy, ..once(fast()) });
    let merchant = world.merchant(None).await;
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "127.1",
        "0",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "localhost",
    ] {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}:{port}/");
            let payment = world.completed(&merchant, Some(&url)).await;
            world.wait_for_state(&payment, "failed").await;
            let error = world.attempts(&payment).await.remove(0).error.unwrap();
            assert!(error.contains("not allowed"), "{url}: {error}");
        }
    }
    assert_eq!(receiver.received().len(), 0);
}

#[tokio::test]
async fn an_allowed_name_is_dialled() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    let merchant = world.merchant(None).await;
    let url = receiver.url.replace("127.0.0.1", "localhost");
    let payment = world.completed(&merchant, Some(&url)).await;
    let _running = world.deliver(once(fast()));
    world.wait_for_state(&payment, "delivered").await;
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (world, receiver, elsewhere) = (World::new().await, http_receiver().await, http_receiver().await);
    receiver.answer_always(Answer::redirect(&elsewhere.url));
    let merchant = world.merchant(Some(&receiver.url)).await;
    let payment = world.completed(&merchant, None).await;
    let _running = world.deliver(once(fast()));
    world.wait_for_state(&payment, "failed").await;
    assert_eq!(world.attempts(&payment).await[0].http_status, Some(307));
    assert_eq!(elsewhere.received().len(), 0);
}

#[tokio::test]
async fn an_endless_answer_is_read_in_part() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    receiver.answer_always(Answer::huge(u64::MAX));
    let merchant = world.merchant(Some(&receiver.url)).await;
    let payment = world.completed(&merchant, None).await;
    let _running = world.deliver(once(fast()));
    world.wait_for_state(&payment, "delivered").await;
    let attempt = world.attempts(&payment).await.remove(0);
    assert_eq!(attempt.response_excerpt.unwrap(), "x".repeat(1024));
}

/// 200 with a body that is announced and never comes: not an answer; a refusal needs no body.
#[tokio::test]
async fn the_timeout_covers_the_body() {
    let world = World::new().await;
    for (status, error) in [("200 OK", "no complete answer within 0.3 s"), ("500 No", "the receiver answered 500")] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let receiver = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: 10\r\n\r\nhalf");
            stream.write_all(head.as_bytes()).await.unwrap();
            // Until the other side gives up.
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        });
        let merchant = world.merchant(Some(&url)).await;
        let payment = world.completed(&merchant, None).await;
        let running = world.deliver(DelivererConfig { attempt_timeout: Duration::from_millis(300), ..once(fast()) });
        world.wait_for_state(&payment, "failed").await;
        let attempt = world.attempts(&payment).await.remove(0);
        assert_eq!(attempt.error.as_deref(), Some(error));
        assert_eq!(attempt.response_excerpt.as_deref(), Some("half"));
        assert!(attempt.latency_ms >= 299);
        tokio::time::timeout(SOON, receiver).await.unwrap().unwrap();
        running.stop().await;
    }
}

#[tokio::test]
async fn nobody_listening_is_a_failed_attempt() {
    let world = World::new().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let merchant = world.merchant(Some(&url)).await;
    let payment = world.completed(&merchant, None).await;
    let _running = world.deliver(once(fast()));
    world.wait_for_state(&payment, "failed").await;
    let error = eventually("the log", SOON, async || world.attempts(&payment).await.pop()).await.error;
    assert_eq!(error.as_deref(), Some("no connection to the receiver"));
}

/// The key is destroyed before the planner has come to the event that says so.
#[tokio::test]
async fn what_waits_for_a_forgotten_merchant_is_given_up_unsigned() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    let merchant = world.merchant(Some(&receiver.url)).await;
    let payments = [world.completed(&merchant, None).await, world.completed(&merchant, None).await];
    world.vault.forget(merchant.id.as_uuid()).await.unwrap();
    let _running = world.deliver(fast());
    for payment in &payments {
        world.wait_for_state(payment, "disabled").await;
    }
    assert_eq!(receiver.received().len(), 0);
}
