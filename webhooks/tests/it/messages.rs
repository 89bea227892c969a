//! What receivers get.

use serde_json::json;
use wopay_domain::payment::{Flags, PaymentEvent, PaymentStatus};
use wopay_testkit::http_receiver;
use wopay_webhooks::sign::SigningSecret;

use crate::world::{SOON, World, fast, standing, verify};

#[tokio::test]
async fn the_body_is_the_documented_one_and_both_signatures_verify() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    let merchant = world.merchant(Some(&receiver.url)).await;
    let payment = world.completed(&merchant, None).await;
    let _running = world.deliver(fast());
    let received = receiver.wait_for(1, SOON).await.remove(0);

    verify(&received, &merchant.secret);
    assert_eq!(received.method, "POST");
    assert_eq!(received.header("content-type"), "application/json");
    assert!(received.header("user-agent").starts_with("WoPay-Webhooks/"));
    let mut body = received.json();
    let signature = body.as_object_mut().unwrap().remove("signature").unwrap();
    assert_eq!(
        body,
        json!({
            "event": "payment.completed",
            "payment_id": payment.id.to_string(),
            "order_id": "ORDER \"№ 7\"",
            "amount": "100.500000",
            "currency": "USDT",
            "blockchain": "ethereum",
            "status": "completed",
            "flags": ["overpaid"],
            "amount_paid": "101.000001",
            "transaction_hash": "0xabc",
            "confirmations": 12,
            "timestamp": "2026-01-02T03:04:05.678901Z",
            "id": received.header("webhook-id"),
            "sequence": 2,
        })
    );
    let id = payment.id.to_string();
    let expected = SigningSecret::parse(&merchant.secret).unwrap().sign_fields(&[
        "2026-01-02T03:04:05.678901Z",
        "payment.completed",
        &id,
        "ORDER \"№ 7\"",
        "100.500000",
        "USDT",
        "completed",
        "0xabc",
    ]);
    assert_eq!(signature, expected);
    assert_eq!(expected.len(), 64);
}

#[tokio::test]
async fn without_a_transaction_the_hash_is_null_and_signed_as_nothing() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    let merchant = world.merchant(Some(&receiver.url)).await;
    let payment = world.payment(&merchant, None).await;
    let mut expired = standing(PaymentStatus::Expired);
    expired.transaction_hash = None;
    expired.at = "2026-01-02T03:04:05Z".parse().unwrap();
    world.happened(&payment, &PaymentEvent::PaymentExpired(expired)).await;
    world.follow(0).await;
    let _running = world.deliver(fast());
    let body = receiver.wait_for(1, SOON).await[0].json();
    assert_eq!(body["transaction_hash"], json!(null));
    assert_eq!(body["timestamp"], "2026-01-02T03:04:05Z");
    let (id, secret) = (payment.id.to_string(), SigningSecret::parse(&merchant.secret).unwrap());
    let fields = ["2026-01-02T03:04:05Z", "payment.expired", &id, "ORDER \"№ 7\"", "100.500000", "USDT", "expired", ""];
    assert_eq!(body["signature"], secret.sign_fields(&fields));
}

#[tokio::test]
async fn a_refund_says_how_much_went_back_and_by_which_transaction() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    let merchant = world.merchant(Some(&receiver.url)).await;
    let payment = world.payment(&merchant, None).await;
    let mut refunded = standing(PaymentStatus::Refunded);
    refunded.amount_refunded = Some(refunded.amount_confirmed.clone());
    refunded.transaction_hash = Some("0xback".to_owned());
    refunded.flags = Flags { partially_refunded: true, ..Flags::default() };
    world.happened(&payment, &PaymentEvent::PaymentRefunded(refunded)).await;
    world.follow(0).await;
    let _running = world.deliver(fast());
    let body = receiver.wait_for(1, SOON).await[0].json();
    assert_eq!(body["event"], "payment.refunded");
    assert_eq!(body["status"], "refunded");
    assert_eq!(body["flags"], json!(["partially_refunded"]));
    assert_eq!(body["amount_refunded"], "101.000000");
    assert_eq!(body["transaction_hash"], "0xback");
}

#[tokio::test]
async fn a_replaced_secret_signs_from_then_on() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    let merchant = world.merchant(Some(&receiver.url)).await;
    world.completed(&merchant, None).await;
    let secret = world.configure(merchant.id, Some(&receiver.url)).await;
    world.follow(0).await;
    let _running = world.deliver(fast());
    verify(&receiver.wait_for(1, SOON).await[0], &secret);
}

/// Requirement: within one second of the block. What is planned leaves at once, without waiting for a poll.
#[tokio::test]
async fn the_first_attempt_leaves_when_the_plan_is_committed() {
    let (world, receiver) = (World::new().await, http_receiver().await);
    let merchant = world.merchant(Some(&receiver.url)).await;
    let config = wopay_webhooks::DelivererConfig { poll_interval: std::time::Duration::from_secs(3_600), ..fast() };
    let _running = world.deliver(config);
    for count in 1..=3 {
        world.completed(&merchant, None).await;
        receiver.wait_for(count, SOON).await;
    }
}
