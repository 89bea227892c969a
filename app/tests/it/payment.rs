//! A payment from POST to webhook, through every real part.

use std::time::Duration;

use serde_json::json;
use standardwebhooks::Webhook;
use wopay_testkit::{Mining, eventually};

use crate::shop::{CONFIRMATIONS, PATIENCE, Shop, id_and_address};

#[tokio::test(flavor = "multi_thread")]
async fn an_exact_payment_completes_and_its_webhook_follows_the_block() {
    let shop = Shop::open(Mining::OnDemand).await;
    let created = shop.create("ORDER-1", "100.50", "USDT", 3600).await;
    let (id, address) = id_and_address(&created);
    assert_eq!(created["status"], "pending");
    assert_eq!(created["required_confirmations"], CONFIRMATIONS);

    let payer = shop.payer().to_owned();
    let receipt = shop.chain.transfer(&shop.token, &payer, &address, 100_500_000).await;
    let confirming = shop.reaches(&id, "confirming").await;
    assert_eq!(confirming["transactions"][0]["transaction_hash"], receipt.hash);
    shop.webhook(&id, "payment.confirming").await;

    shop.chain.mine(CONFIRMATIONS - 2).await;
    eventually("the second confirmation", PATIENCE, async || {
        Some(shop.payment(&id).await).filter(|payment| payment["confirmations"] == CONFIRMATIONS - 1)
    })
    .await;
    assert_eq!(shop.payment(&id).await["status"], "confirming");

    let mined = std::time::Instant::now();
    shop.chain.mine(1).await;
    let webhook = shop.webhook(&id, "payment.completed").await;
    let latency = mined.elapsed();
    assert!(latency < Duration::from_secs(1), "the webhook came {latency:?} after the block");

    let completed = shop.reaches(&id, "completed").await;
    assert_eq!(completed["amount_paid"], "100.500000");
    assert_eq!(completed["flags"], json!([]));

    Webhook::new(&shop.webhook_secret).unwrap().verify(&webhook.body, &webhook.headers).expect("a valid signature");
    let body = webhook.json();
    assert_eq!(body["order_id"], "ORDER-1");
    assert_eq!(body["status"], "completed");
    assert_eq!(body["transaction_hash"], receipt.hash);
    assert!(body["confirmations"].as_u64().unwrap() >= CONFIRMATIONS);

    let balances = eventually("the balance", PATIENCE, async || {
        let balances = shop.get("/api/v1/balances").await;
        (balances["data"][0]["available"] == "100.500000").then_some(balances)
    })
    .await;
    assert_eq!(balances["data"].as_array().unwrap().len(), 1, "{balances}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_surplus_late_money_and_a_reorganization() {
    let shop = Shop::open(Mining::OnDemand).await;
    let payer = shop.payer().to_owned();

    // Native coin in two parts, more than asked.
    let (id, address) = id_and_address(&shop.create("PARTS", "1", "ETH", 3600).await);
    shop.chain.send_native(&payer, &address, 400_000_000_000_000_000).await;
    shop.reaches(&id, "partially_paid").await;
    shop.chain.send_native(&payer, &address, 700_000_000_000_000_000).await;
    shop.chain.mine(CONFIRMATIONS).await;
    let completed = shop.reaches(&id, "completed").await;
    assert_eq!(completed["flags"], json!(["overpaid"]));
    assert_eq!(completed["amount_paid"], "1.100000000000000000");

    // Nothing before the deadline, everything after it.
    let (late_id, late_address) = id_and_address(&shop.create("LATE", "5", "USDT", 1).await);
    shop.webhook(&late_id, "payment.expired").await;
    shop.chain.rpc("evm_increaseTime", json!([60])).await;
    shop.chain.transfer(&shop.token, &payer, &late_address, 5_000_000).await;
    shop.chain.mine(CONFIRMATIONS).await;
    assert_eq!(shop.reaches(&late_id, "completed").await["flags"], json!(["paid_late"]));

    // The chain takes a completed payment's money back.
    let (gone_id, gone_address) = id_and_address(&shop.create("REORG", "7", "USDT", 3600).await);
    shop.chain.transfer(&shop.token, &payer, &gone_address, 7_000_000).await;
    shop.chain.mine(CONFIRMATIONS - 1).await;
    shop.reaches(&gone_id, "completed").await;
    shop.chain.reorg(CONFIRMATIONS).await;
    shop.chain.mine(1).await;
    shop.reaches(&gone_id, "reversed").await;
    shop.webhook(&gone_id, "payment.reversed").await;
    eventually("the balance without the reversed payment", PATIENCE, async || {
        let balances = shop.get("/api/v1/balances").await;
        let usdt = balances["data"].as_array()?.iter().find(|balance| balance["currency"] == "USDT")?.clone();
        (usdt["available"] == "5.000000").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_found_again_in_the_events_that_it_caused() {
    let shop = Shop::open(Mining::OnDemand).await;
    let (_, address) = id_and_address(&shop.create("WARM-UP", "1", "USDT", 3600).await);
    assert!(address.starts_with("0x"));
    let body = json!({ "order_id": "TRACED", "amount": "1", "currency": "USDT", "blockchain": "ethereum" });
    let request = shop.client.post(format!("{}/api/v1/payments", shop.gateway.url)).bearer_auth(&shop.api_key);
    let response = request.header("x-request-id", "trace-me-42").json(&body).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-request-id"]),
        (201, &"trace-me-42".parse().unwrap())
    );
    let id = response.json::<serde_json::Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    let metadata: serde_json::Value =
        sqlx::query_scalar("SELECT metadata FROM events WHERE aggregate_type = 'payment' AND aggregate_id = $1")
            .bind(&id)
            .fetch_one(&shop.database.pool)
            .await
            .unwrap();
    assert_eq!(metadata["request_id"], "trace-me-42");
    assert!(metadata["actor"].as_str().unwrap().starts_with(&format!("merchant:{}", shop.merchant_id)));
    eventually("the access log", PATIENCE, async || shop.gateway.log().contains("trace-me-42").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_in_a_process_of_its_own() {
    let mut shop = Shop::open(Mining::OnDemand).await;
    assert_eq!(shop.gateway.stop().await, 0);
    let listen = shop.gateway.url.trim_start_matches("http://").to_owned();
    shop.gateway.launch(&["--roles", "api", "--listen", &listen]);
    shop.gateway.ready().await;
    let others = ["relay", "projections", "webhooks", "watchers", "scheduler", "signer"];
    let _others = others.map(|role| shop.gateway.launch_beside(role));

    let (id, address) = id_and_address(&shop.create("SPLIT", "3", "USDT", 3600).await);
    let payer = shop.payer().to_owned();
    shop.chain.transfer(&shop.token, &payer, &address, 3_000_000).await;
    shop.chain.mine(CONFIRMATIONS - 1).await;
    shop.reaches(&id, "completed").await;
    shop.webhook(&id, "payment.completed").await;
    let (expired, _) = id_and_address(&shop.create("SPLIT-LATE", "3", "USDT", 1).await);
    shop.reaches(&expired, "expired").await;
    eventually("the balance", PATIENCE, async || {
        let balances = shop.get("/api/v1/balances").await;
        (balances["data"][0]["available"] == "3.000000").then_some(())
    })
    .await;
}
