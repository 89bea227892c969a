//! Money that goes back: asked for and recorded at the command line, announced and shown like any other change.

use serde_json::json;
use wopay_testkit::Mining;

use crate::shop::{CONFIRMATIONS, Shop, id_and_address};

const CUSTOMER: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

fn request<'a>(payment: &'a str, amount: &'a str, to: &'a str) -> [&'a str; 10] {
    ["refund", "request", payment, "--amount", amount, "--to", to, "--reason", "goods returned", "--json"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_and_then_the_rest_go_back() {
    let shop = Shop::open(Mining::OnDemand).await;
    let (id, address) = id_and_address(&shop.create("ORDER-1", "100", "USDT", 3600).await);
    let refused = |args: &[&str], why: &str| {
        let output = shop.gateway.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && stderr.contains(why), "{args:?}: {stderr}");
    };
    refused(&request(&id, "1", CUSTOMER), "a payment that is pending cannot be refunded yet");

    let payer = shop.payer().to_owned();
    shop.chain.transfer(&shop.token, &payer, &address, 100_000_000).await;
    shop.chain.mine(CONFIRMATIONS - 1).await;
    shop.reaches(&id, "completed").await;

    refused(&request(&id, "100.000001", CUSTOMER), "more than the 100.000000 USDT that can be refunded");
    refused(&request(&id, "1.0000001", CUSTOMER), "digits after the point");
    refused(&request(&id, "1", "0x5aAeB6053F3E94C9b9A09f33669435E7Ef1BeAed"), "checksum");
    let part = shop.gateway.run_json(&request(&id, "30", CUSTOMER));
    assert_eq!((&part["status"], &part["amount"]), (&json!("requested"), &json!("30.000000")), "{part}");
    let refund = part["refund_id"].as_str().unwrap();
    let hash = format!("0x{}", "ab".repeat(32));
    refused(&["refund", "complete", &id, refund, "--transaction", "0x12"], "64 hex digits");
    let complete = ["refund", "complete", &id, refund, "--transaction", &hash, "--network-fee", "0.0001", "--json"];
    let sent = shop.gateway.run_json(&complete);
    assert_eq!((&sent["status"], &sent["verified"]), (&json!("completed"), &json!(false)), "{sent}");
    assert_eq!(sent["network_fee_minor"], "100000000000000");
    assert_eq!(shop.gateway.run_json(&complete), sent, "the same again changes nothing");

    let adjusted = shop.webhook(&id, "payment.adjusted").await.json();
    assert_eq!(adjusted["flags"], json!(["partially_refunded"]));
    assert_eq!((&adjusted["amount_refunded"], &adjusted["transaction_hash"]), (&json!("30.000000"), &json!(hash)));
    let payment = shop.payment(&id).await;
    assert_eq!((&payment["flags"], &payment["amount_refunded"]), (&json!(["partially_refunded"]), &json!("30.000000")));

    let mistake = shop.gateway.run_json(&request(&id, "all", CUSTOMER));
    assert_eq!(mistake["amount"], "70.000000");
    let mistake = mistake["refund_id"].as_str().unwrap();
    refused(&request(&id, "1", CUSTOMER), "more than the 0.000000 USDT");
    shop.gateway.run_json(&["refund", "cancel", &id, mistake, "--reason", "asked twice", "--json"]);
    let rest = shop.gateway.run_json(&request(&id, "all", CUSTOMER));
    let rest = rest["refund_id"].as_str().unwrap();
    let other = format!("0x{}", "cd".repeat(32));
    let said = shop.gateway.run(&["refund", "complete", &id, rest, "--transaction", &other]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("not checked on the chain"));

    let refunded = shop.webhook(&id, "payment.refunded").await.json();
    assert_eq!((&refunded["status"], &refunded["flags"]), (&json!("refunded"), &json!([])));
    let payment = shop.reaches(&id, "refunded").await;
    assert_eq!(payment["amount_paid"], "100.000000");
    let listed = wopay_testkit::eventually("the list to follow", crate::shop::PATIENCE, async || {
        let list = shop.get("/api/v1/payments?status=refunded").await;
        (list["data"].as_array().unwrap().len() == 1).then_some(list)
    })
    .await;
    assert_eq!(listed["data"][0]["id"], id.as_str());
    assert_eq!(listed["data"][0]["amount_refunded"], "100.000000");

    let list = shop.gateway.run_json(&["refund", "list", &id, "--json"]);
    let states: Vec<_> = list["refunds"].as_array().unwrap().iter().map(|refund| refund["status"].clone()).collect();
    assert_eq!(states, ["completed", "cancelled", "completed"]);
    assert_eq!(list["refundable"], "0.000000");
}
