use axum::http::Method;
use futures::future::join_all;
use serde_json::json;
use wopay_domain::{Money, PaymentId};
use wopay_eventbus::log;

use crate::support::{api, api_with_addresses, members, order, second_process, shown_headers};

#[tokio::test]
async fn a_new_payment_is_answered_with_all_of_its_fields() {
    let api = api().await;
    let merchant = api.merchant().await;
    let mut body = order("order-1001");
    body["callback_url"] = json!("https://shop.example/hook?x=1");
    let answer = api.create(&merchant, &body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    insta::assert_json_snapshot!("created", answer.json(), {
        ".id" => "[id]",
        ".checkout_url" => "https://pay.example/shop/pay/[id]",
        ".created_at" => "[time]", ".updated_at" => "[time]", ".expires_at" => "[time]",
    });
    let created = answer.json();
    let id = created["id"].as_str().unwrap();
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
    assert_eq!(created["checkout_url"], format!("https://pay.example/shop/pay/{id}"));
    assert_eq!(shown_headers(&answer)["location"], format!("/api/v1/payments/{id}"));
    let time = |name: &str| chrono::DateTime::parse_from_rfc3339(created[name].as_str().unwrap()).unwrap();
    assert_eq!(time("expires_at") - time("created_at"), chrono::Duration::hours(1));
    assert_eq!(
        members(&answer.text),
        [
            "id",
            "order_id",
            "amount",
            "currency",
            "blockchain",
            "status",
            "flags",
            "payment_address",
            "payment_uri",
            "checkout_url",
            "amount_paid",
            "amount_confirmed",
            "amount_refunded",
            "confirmations",
            "required_confirmations",
            "transactions",
            "callback_url",
            "expires_at",
            "created_at",
            "updated_at"
        ]
    );
    assert_eq!(api.get(&merchant, &format!("/api/v1/payments/{id}")).await.text, answer.text);
}

#[tokio::test]
async fn native_coins_and_symbols_of_any_case_are_taken() {
    let api = api().await;
    let merchant = api.merchant().await;
    let body = json!({"order_id": "été 😀", "amount": "0.000000000000000001", "currency": "bnb", "blockchain": "bsc",
        "expires_in": 60, "callback_url": null});
    let answer = api.create(&merchant, &body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let json = answer.json();
    assert_eq!(json["currency"], "BNB");
    assert_eq!(json["amount"], "0.000000000000000001");
    let address = json["payment_address"].as_str().unwrap();
    assert_eq!(json["payment_uri"], format!("ethereum:{address}@56?value=1"));
    assert_eq!(json["order_id"], "été 😀");
}

#[tokio::test]
async fn the_request_id_reaches_the_metadata_of_the_event() {
    let api = api().await;
    let merchant = api.merchant().await;
    let request = merchant.request(Method::POST, "/api/v1/payments").header("x-request-id", "shop-77");
    let answer = api.send(request.body(order("1").to_string().into()).unwrap()).await;
    assert_eq!(answer.headers["x-request-id"], "shop-77");
    let head = api.events().await;
    let events = log::read(&api.db.pool, head - 1, 1).await.unwrap();
    assert_eq!(events[0].event_type, "PaymentCreated");
    let metadata: serde_json::Value = events[0].metadata.read().unwrap();
    assert_eq!(metadata["request_id"], "shop-77");
    assert_eq!(metadata["actor"], format!("merchant:{}/key:{}", merchant.id, merchant.key_id));
}

#[tokio::test]
async fn the_same_order_again_is_the_same_payment() {
    let api = api().await;
    let merchant = api.merchant().await;
    let first = api.create(&merchant, &order("1")).await;
    let events = api.events().await;

    // Other JSON, same terms.
    let same = r#"{ "expires_in": 3600, "blockchain": "ethereum", "currency": "usdt", "amount": "100.5",
                    "order_id": "\u0031", "callback_url": null }"#;
    let again = api.post(&merchant, "/api/v1/payments", same).await;
    assert_eq!(again.status, 200, "{}", again.text);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(again.text, first.text);
    assert!(!first.headers.contains_key("idempotent-replayed"));
    assert_eq!(api.events().await, events);

    // The order ids of merchants are their own.
    let other = api.merchant().await;
    let theirs = api.create(&other, &order("1")).await;
    assert_eq!(theirs.status, 201);
    assert_ne!(theirs.json()["id"], first.json()["id"]);
    assert_ne!(theirs.json()["payment_address"], first.json()["payment_address"]);
}

#[tokio::test]
async fn the_same_order_with_other_terms_is_a_conflict_that_names_them() {
    let api = api().await;
    let merchant = api.merchant().await;
    api.payment(&merchant, "1").await;
    let events = api.events().await;
    let mut body = order("1");
    body["amount"] = json!("100.51");
    body["expires_in"] = json!(60);
    let answer = api.create(&merchant, &body).await;
    answer.problem(409, "order_conflict");
    insta::assert_json_snapshot!("order_conflict", answer.json(), {
        ".request_id" => "[request]", ".detail" => "[names the payment]",
    });
    let mut body = order("1");
    body["blockchain"] = json!("bsc");
    body["callback_url"] = json!("https://shop.example/");
    let named = api.create(&merchant, &body).await.named_fields();
    let named: Vec<_> = named.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(named, ["amount", "blockchain", "callback_url"], "100.50 of 18 decimals is another amount");
    assert_eq!(api.events().await, events);
}

#[tokio::test]
async fn an_idempotency_key_names_one_request() {
    let api = api().await;
    let merchant = api.merchant().await;
    let send = async |key: &str, body: &serde_json::Value| {
        let request = merchant.request(Method::POST, "/api/v1/payments").header("idempotency-key", key);
        api.send(request.body(body.to_string().into()).unwrap()).await
    };
    let first = send("k1", &order("1")).await;
    assert_eq!(first.status, 201);
    let again = send("k1", &order("1")).await;
    assert_eq!((again.status.as_u16(), &again.headers["idempotent-replayed"]), (200, &"true".parse().unwrap()));
    assert_eq!(again.text, first.text);
    let reused = send("k1", &order("2")).await;
    reused.problem(422, "idempotency_key_reused");
    assert_eq!(reused.named_fields(), [("Idempotency-Key".to_owned(), "reused".to_owned())]);
    for bad in ["", "a b", &"k".repeat(256)] {
        send(bad, &order("3")).await.problem(400, "invalid_header");
    }
    // What was refused leaves the key free.
    let mut bad = order("4");
    bad["amount"] = json!("0");
    send("k4", &bad).await.problem(422, "invalid_fields");
    assert_eq!(send("k4", &order("4")).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_identical_requests_at_once_exactly_one_creates() {
    let api = api().await;
    let merchant = api.merchant().await;
    let body = order("race");
    let answers = join_all((0..48).map(|_| api.create(&merchant, &body))).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    let replayed = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((created, replayed), (1, 47));
    assert!(answers.iter().all(|answer| answer.text == answers[0].text));
    let payments: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'PaymentCreated'")
        .fetch_one(&api.db.pool)
        .await
        .unwrap();
    assert_eq!(payments, 1);
}

#[tokio::test]
async fn without_an_address_nothing_is_promised() {
    let api = api_with_addresses(1).await;
    let merchant = api.merchant().await;
    api.payment(&merchant, "1").await;
    let events = api.events().await;
    let answer = api.create(&merchant, &order("2")).await;
    answer.problem(503, "address_pool_empty");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(api.events().await, events);
}

#[tokio::test]
async fn an_address_that_is_taken_costs_another_try() {
    let api = api().await;
    let merchant = api.merchant().await;
    let id: PaymentId = api.payment(&merchant, "1").await;
    // As if the pool had given out an address twice.
    sqlx::query("UPDATE address_cursors SET next_idx = 0").execute(&api.db.pool).await.unwrap();
    let again = second_process(&api);
    let answer = again.create(&merchant, &order("2")).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let first = api.get(&merchant, &format!("/api/v1/payments/{id}")).await.json();
    assert_ne!(answer.json()["payment_address"], first["payment_address"]);
}

#[tokio::test]
async fn the_largest_amounts_survive() {
    let api = api().await;
    let merchant = api.merchant().await;
    let largest = Money::new(u128::MAX, "ethereum/native".parse().unwrap());
    let mut body = order("1");
    body["currency"] = json!("ETH");
    body["amount"] = json!("340282366920938463463.374607431768211455");
    let answer = api.create(&merchant, &body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(answer.json()["amount"], "340282366920938463463.374607431768211455");
    assert!(answer.json()["payment_uri"].as_str().unwrap().ends_with(&format!("?value={}", largest.minor())));
}

#[tokio::test]
async fn a_ledger_that_takes_nothing_says_when_to_try_again() {
    let api = api().await;
    let merchant = api.merchant().await;
    api.ledger.shutdown().await;
    let answer = api.create(&merchant, &order("1")).await;
    answer.problem(503, "overloaded");
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn repeating_an_order_uses_up_no_addresses() {
    let api = api_with_addresses(2).await;
    let merchant = api.merchant().await;
    api.payment(&merchant, "1").await;
    let mut other_terms = order("1");
    other_terms["amount"] = json!("7");
    for _ in 0..5 {
        assert_eq!(api.create(&merchant, &order("1")).await.status, 200);
        assert_eq!(api.create(&merchant, &other_terms).await.status, 409);
    }
    api.payment(&merchant, "2").await;
    api.create(&merchant, &order("3")).await.problem(503, "address_pool_empty");
}
