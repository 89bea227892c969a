//! What is read of payments: one, lists, balances; and their cancellation.

use axum::http::Method;
use serde_json::{Value, json};
use wopay_domain::payment::DepositStage;
use wopay_domain::{AssetId, ChainName, Money, PaymentId};

use crate::support::{TestApi, TestMerchant, api, members, order};

const SEEN: DepositStage = DepositStage::Seen { confirmations: 1 };
const CONFIRMED: DepositStage = DepositStage::Confirmed { confirmations: 12 };

async fn read(api: &TestApi, merchant: &TestMerchant, id: PaymentId) -> Value {
    let answer = api.get(merchant, &format!("/api/v1/payments/{id}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

async fn cancel(api: &TestApi, merchant: &TestMerchant, id: PaymentId) -> crate::support::Answer {
    let request = merchant.request(Method::POST, &format!("/api/v1/payments/{id}/cancel"));
    api.send(request.body("".into()).unwrap()).await
}

#[tokio::test]
async fn a_payment_shows_its_deposits_without_waiting_for_a_projection() {
    let api = api().await;
    let merchant = api.merchant().await;
    let id = api.payment(&merchant, "1").await;
    api.set_head("ethereum", 104).await;
    api.deposit(id, "aa", 60_500_000, 100, SEEN).await;
    api.deposit(id, "bb", 50_000_000, 103, SEEN).await;
    let weth: ChainName = "bsc".parse().unwrap();
    api.deposit_of(id, "cc", Money::new(5, AssetId::native(&weth)), 7, SEEN).await;
    api.deposit(id, "dd", 1, 104, SEEN).await;
    api.deposit(id, "dd", 1, 104, DepositStage::Orphaned).await;
    let payment = read(&api, &merchant, id).await;
    insta::assert_json_snapshot!("confirming", payment, {
        ".id" => "[id]", ".checkout_url" => "[url]",
        ".created_at" => "[time]", ".updated_at" => "[time]", ".expires_at" => "[time]",
    });
    let text = api.get(&merchant, &format!("/api/v1/payments/{id}")).await.text;
    let transaction = &text[text.find("\"transactions\":[").unwrap() + 16..];
    let transaction = &transaction[..=transaction.find('}').unwrap()];
    assert_eq!(
        members(transaction),
        [
            "transaction_hash",
            "blockchain",
            "from",
            "amount",
            "currency",
            "asset",
            "block_number",
            "block_hash",
            "confirmations",
            "status",
            "credited",
            "held_reason",
            "assigned_to"
        ]
    );
}

#[tokio::test]
async fn confirmations_are_those_of_the_least_confirmed_deposit_that_counts() {
    let api = api().await;
    let merchant = api.merchant().await;
    let id = api.payment(&merchant, "1").await;
    assert_eq!(read(&api, &merchant, id).await["confirmations"], 0);
    api.set_head("ethereum", 100).await;
    api.deposit(id, "aa", 60_500_000, 98, SEEN).await;
    let payment = read(&api, &merchant, id).await;
    assert_eq!((&payment["status"], &payment["confirmations"]), (&json!("partially_paid"), &json!(3)));
    assert_eq!((&payment["amount_paid"], &payment["amount_confirmed"]), (&json!("60.500000"), &json!("0.000000")));
    // The head that is known may lie before the block.
    api.deposit(id, "bb", 40_000_000, 101, SEEN).await;
    assert_eq!(read(&api, &merchant, id).await["confirmations"], 1);
    api.deposit(id, "aa", 60_500_000, 98, CONFIRMED).await;
    api.deposit(id, "bb", 40_000_000, 101, CONFIRMED).await;
    let payment = read(&api, &merchant, id).await;
    assert_eq!((&payment["status"], &payment["confirmations"]), (&json!("completed"), &json!(12)));
    // A tip does not set it back.
    api.deposit(id, "cc", 1, 120, SEEN).await;
    let payment = read(&api, &merchant, id).await;
    assert_eq!((&payment["status"], &payment["confirmations"]), (&json!("completed"), &json!(12)));
    assert_eq!(payment["amount_paid"], "100.500001");
}

#[tokio::test]
async fn only_a_payment_without_money_can_be_cancelled() {
    let api = api().await;
    let merchant = api.merchant().await;
    let id = api.payment(&merchant, "1").await;
    let answer = cancel(&api, &merchant, id).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("cancelled")));
    let events = api.events().await;
    assert_eq!(cancel(&api, &merchant, id).await.status, 200, "again changes nothing");
    assert_eq!(api.events().await, events);
    let metadata: Value = sqlx::query_scalar("SELECT metadata FROM events ORDER BY position DESC LIMIT 1")
        .fetch_one(&api.db.pool)
        .await
        .unwrap();
    assert!(metadata["actor"].as_str().unwrap().starts_with("merchant:"), "{metadata}");

    let paid = api.payment(&merchant, "2").await;
    api.deposit(paid, "aa", 1, 100, SEEN).await;
    let events = api.events().await;
    let answer = cancel(&api, &merchant, paid).await;
    let problem = answer.problem(409, "payment_not_cancellable");
    assert_eq!(problem["detail"], "A payment that is partially_paid cannot be cancelled.");
    assert_eq!(api.events().await, events);
}

#[tokio::test]
async fn lists_are_read_in_pages_and_filtered() {
    let api = api().await;
    let merchant = api.merchant().await;
    let mut ids = Vec::new();
    for index in 0..7 {
        let mut body = order(&format!("order-{index}"));
        if index % 2 == 0 {
            body["blockchain"] = json!("bsc");
            body["currency"] = json!("BNB");
        }
        let answer = api.create(&merchant, &body).await;
        ids.insert(0, answer.json()["id"].clone());
    }
    let empty = api.get(&merchant, "/api/v1/payments").await;
    assert_eq!(members(&empty.text), ["data", "next_cursor", "has_more", "as_of_position"]);
    assert_eq!(empty.json(), json!({"data": [], "next_cursor": null, "has_more": false, "as_of_position": 0}));
    let position = api.project().await;

    let (mut pages, mut cursor, mut seen) = (0, String::new(), Vec::new());
    loop {
        let page = api.get(&merchant, &format!("/api/v1/payments?limit=3{cursor}")).await.json();
        assert_eq!(page["as_of_position"], position);
        let data = page["data"].as_array().unwrap();
        seen.extend(data.iter().map(|payment| payment["id"].clone()));
        pages += 1;
        assert_eq!(page["has_more"], !page["next_cursor"].is_null());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
        if pages == 1 {
            // What comes in between shifts nothing.
            api.payment(&merchant, "late").await;
        }
    }
    assert_eq!((pages, seen), (3, ids));

    api.project().await;
    let count = async |query: &str| {
        let answer = api.get(&merchant, &format!("/api/v1/payments?limit=100&{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        answer.json()["data"].as_array().unwrap().len()
    };
    assert_eq!(count("status=pending").await, 8);
    assert_eq!(count("status=completed").await, 0);
    assert_eq!(count("blockchain=bsc&currency=bnb").await, 4);
    assert_eq!(count("order_id=order-3").await, 1);
    assert_eq!(count("order_id=order-99").await, 0);
    assert_eq!(count("created_from=2020-01-01T00:00:00Z&created_to=2020-01-02T00:00:00%2B02:00").await, 0);
    assert_eq!(count("created_from=2020-01-01T00:00:00Z").await, 8);
}

#[tokio::test]
async fn a_listed_payment_agrees_with_the_payment() {
    let api = api().await;
    let merchant = api.merchant().await;
    let id = api.payment(&merchant, "1").await;
    api.set_head("ethereum", 101).await;
    api.deposit(id, "aa", 60_500_000, 100, SEEN).await;
    api.project().await;
    let payment = read(&api, &merchant, id).await;
    let list = api.get(&merchant, "/api/v1/payments").await.json();
    let item = list["data"][0].as_object().unwrap();
    for (member, value) in item {
        match member.as_str() {
            "transaction_hash" => assert_eq!(value, "0xaa"),
            _ => assert_eq!(value, &payment[member], "{member}"),
        }
    }
    assert_eq!(item.len(), payment.as_object().unwrap().len());
}

#[tokio::test]
async fn balances_come_from_the_books() {
    let api = api().await;
    let merchant = api.merchant().await;
    let id = api.payment(&merchant, "1").await;
    api.deposit(id, "aa", 60_500_000, 100, SEEN).await;
    api.deposit(id, "aa", 60_500_000, 100, CONFIRMED).await;
    api.deposit(id, "bb", 7, 101, SEEN).await;
    let position = api.project().await;
    let answer = api.get(&merchant, "/api/v1/balances").await;
    let asset = format!("ethereum/{}", crate::support::USDT_ETHEREUM);
    let usdt = json!({"currency": "USDT", "blockchain": "ethereum", "asset": asset, "available": "60.500000",
        "pending": "0.000007"});
    assert_eq!(answer.json(), json!({"data": [usdt], "as_of_position": position}));
}
