//! Odd money end to end: seen, listed at the command line and over HTTP, and decided about.

use serde_json::{Value, json};
use wopay_testkit::{Mining, eventually};

use crate::shop::{CONFIRMATIONS, PATIENCE, Shop, id_and_address};

/// The deposits that the command line lists in a state, once there are so many.
async fn listed(shop: &Shop, state: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} {state}"), PATIENCE, async || {
        let list = shop.gateway.run_json(&["deposits", "list", "--state", state, "--json"]);
        let deposits = list["deposits"].as_array().unwrap().clone();
        let confirmed = deposits.iter().all(|deposit| deposit["is_confirmed"] == true);
        (deposits.len() == count && confirmed).then_some(deposits)
    })
    .await
}

async fn pay(shop: &Shop, address: &str, minor: u128) {
    let payer = shop.payer().to_owned();
    shop.chain.transfer(&shop.token, &payer, address, minor).await;
    shop.chain.mine(CONFIRMATIONS - 1).await;
}

fn refused(shop: &Shop, args: &[&str], why: &str) {
    let output = shop.gateway.run(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && stderr.contains(why), "{args:?}: {stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn held_and_unmatched_money_is_assigned_or_recorded_as_sent_back() {
    let shop = Shop::open(Mining::OnDemand).await;
    let (cancelled, address) = id_and_address(&shop.create("ORDER-1", "100", "USDT", 3600).await);
    let cancel = format!("{}/api/v1/payments/{cancelled}/cancel", shop.gateway.url);
    let answer = shop.client.post(cancel).bearer_auth(&shop.api_key).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    pay(&shop, &address, 100_000_000).await;
    shop.reaches(&cancelled, "held").await;
    let held = listed(&shop, "held", 1).await;
    assert_eq!((&held[0]["hold_reason"], &held[0]["payment_id"]), (&json!("cancelled"), &json!(cancelled)));
    let deposit = held[0]["deposit"].as_str().unwrap();
    let (other, _) = id_and_address(&shop.create("ORDER-2", "5", "USDT", 3600).await);
    refused(&shop, &["deposits", "assign", deposit, &other, "--reason", "r"], &format!("held by payment {cancelled}"));
    let assign = ["deposits", "assign", deposit, &cancelled, "--reason", "the goods went out", "--json"];
    let assigned = shop.gateway.run_json(&assign);
    assert_eq!(assigned["payment_status"], "completed", "{assigned}");
    assert_eq!(shop.gateway.run_json(&assign), assigned, "the same again changes nothing");
    assert_eq!(shop.webhook(&cancelled, "payment.completed").await.json()["amount_paid"], "100.000000");

    // The last address of the pool is nobody's for long.
    let spare: String = sqlx::query_scalar("SELECT address FROM address_pool WHERE family = 'evm' ORDER BY idx DESC LIMIT 1")
        .fetch_one(&shop.database.pool)
        .await
        .unwrap();
    pay(&shop, &spare, 5_000_000).await;
    pay(&shop, &spare, 7_000_000).await;
    let stray = listed(&shop, "unmatched", 2).await;
    let of = |minor: &str| {
        let found = stray.iter().find(|deposit| deposit["amount_minor"] == minor).unwrap();
        found["deposit"].as_str().unwrap().to_owned()
    };
    let assigned = shop.gateway.run_json(&["deposits", "assign", &of("5000000"), &other, "--reason", "r", "--json"]);
    assert_eq!(assigned["payment_status"], "completed", "{assigned}");
    let hash = format!("0x{}", "ab".repeat(32));
    refused(&shop, &["deposits", "refund", &of("7000000"), "--transaction", "0x12", "--reason", "r"], "64 hex digits");
    shop.gateway.run_json(&["deposits", "refund", &of("7000000"), "--transaction", &hash, "--reason", "r", "--json"]);
    refused(&shop, &["deposits", "assign", &of("7000000"), &other, "--reason", "r"], "refunded by transaction");
    assert_eq!(listed(&shop, "refunded", 1).await[0]["decision_transaction"], json!(hash));
    assert_eq!(listed(&shop, "assigned", 2).await.len(), 2);
    assert!(listed(&shop, "unmatched", 0).await.is_empty());

    let table = shop.gateway.run(&["deposits", "list"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("the goods went out"), "{table:?}");
    let key = shop.gateway.run_json(&["access", "create", "--role", "finance", "--label", "books", "--json"]);
    let csv = format!("{}/api/v1/deposits?state=assigned&format=csv", shop.gateway.url);
    let csv = shop.client.get(csv).bearer_auth(key["access_key"].as_str().unwrap()).send().await.unwrap();
    let csv = csv.text().await.unwrap();
    assert!(csv.starts_with("deposit,state,hold_reason") && csv.lines().count() == 3, "{csv}");
}
