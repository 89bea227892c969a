//! What is refused: always a problem that names the field, never an event.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{api, order};

/// (what to change, field named, code of the error)
fn bad_fields() -> Vec<(Value, &'static str, &'static str)> {
    vec![
        (json!({"amount": "1e3"}), "amount", "not_decimal"),
        (json!({"amount": "-1"}), "amount", "not_decimal"),
        (json!({"amount": "+1"}), "amount", "not_decimal"),
        (json!({"amount": ""}), "amount", "not_decimal"),
        (json!({"amount": " 1"}), "amount", "not_decimal"),
        (json!({"amount": "1."}), "amount", "not_decimal"),
        (json!({"amount": ".5"}), "amount", "not_decimal"),
        (json!({"amount": "01"}), "amount", "not_decimal"),
        (json!({"amount": "1,5"}), "amount", "not_decimal"),
        (json!({"amount": "٣"}), "amount", "not_decimal"),
        (json!({"amount": "NaN"}), "amount", "not_decimal"),
        (json!({"amount": "0"}), "amount", "zero"),
        (json!({"amount": "0.000000"}), "amount", "zero"),
        (json!({"amount": "1.0000001"}), "amount", "too_precise"),
        (json!({"amount": "1111111111222222222233333333334444444444"}), "amount", "too_large"),
        (json!({"amount": 100.5}), "amount", "wrong_type"),
        (json!({"amount": 100}), "amount", "wrong_type"),
        (json!({"amount": null}), "amount", "required"),
        (json!({"amount": ["1"]}), "amount", "wrong_type"),
        (json!({"blockchain": "dogecoin"}), "blockchain", "unknown"),
        (json!({"blockchain": "Ethereum"}), "blockchain", "unknown"),
        (json!({"blockchain": 1}), "blockchain", "wrong_type"),
        (json!({"currency": "DOGE"}), "currency", "unknown"),
        (json!({"currency": "BNB"}), "currency", "unknown"),
        (json!({"currency": true}), "currency", "wrong_type"),
        (json!({"callback_url": "ftp://shop.example/x"}), "callback_url", "not_allowed"),
        (json!({"callback_url": "http://shop.example/x"}), "callback_url", "not_allowed"),
        (json!({"callback_url": "https://127.0.0.1/x"}), "callback_url", "not_allowed"),
        (json!({"callback_url": "javascript:alert(1)"}), "callback_url", "not_allowed"),
        (json!({"callback_url": "shop.example"}), "callback_url", "not_allowed"),
        (json!({"callback_url": ""}), "callback_url", "not_allowed"),
        (json!({"callback_url": 5}), "callback_url", "wrong_type"),
        (json!({"expires_in": 0}), "expires_in", "out_of_range"),
        (json!({"expires_in": -1}), "expires_in", "out_of_range"),
        (json!({"expires_in": 604_801}), "expires_in", "out_of_range"),
        (json!({"expires_in": 31_536_000}), "expires_in", "out_of_range"),
        (json!({"expires_in": u64::MAX}), "expires_in", "wrong_type"),
        (json!({"expires_in": 60.5}), "expires_in", "wrong_type"),
        (json!({"expires_in": "3600"}), "expires_in", "wrong_type"),
        (json!({"order_id": ""}), "order_id", "empty"),
        (json!({"order_id": " "}), "order_id", "not_printable"),
        (json!({"order_id": "a\u{0}b"}), "order_id", "not_printable"),
        (json!({"order_id": "a\nb"}), "order_id", "not_printable"),
        (json!({"order_id": "a\u{200b}b"}), "order_id", "not_printable"),
        (json!({"order_id": "x".repeat(256)}), "order_id", "too_long"),
        (json!({"order_id": "😀".repeat(255)}), "order_id", "too_long"),
        (json!({"order_id": 17}), "order_id", "wrong_type"),
        (json!({"order_id": null}), "order_id", "required"),
        (json!({"merchant_id": "x"}), "merchant_id", "unknown"),
    ]
}

#[tokio::test]
async fn every_bad_field_is_named_and_nothing_is_written() {
    let api = api().await;
    let merchant = api.merchant().await;
    let events = api.events().await;
    for (change, field, code) in bad_fields() {
        let mut body = order("1");
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = api.create(&merchant, &body).await;
        answer.problem(422, "invalid_fields");
        assert_eq!(answer.named_fields(), [(field.to_owned(), code.to_owned())], "{change}");
    }
    assert_eq!(api.events().await, events);
    // What was refused took no order id.
    assert_eq!(api.create(&merchant, &order("1")).await.status, 201);
}

#[tokio::test]
async fn all_errors_are_told_at_once() {
    let api = api().await;
    let merchant = api.merchant().await;
    let body = json!({"amount": "1e3", "currency": "DOGE", "blockchain": "dogecoin", "expires_in": 0, "x": 1,
        "callback_url": "ftp://x"});
    let answer = api.create(&merchant, &body).await;
    answer.problem(422, "invalid_fields");
    insta::assert_json_snapshot!("all_errors", answer.json(), {".request_id" => "[request]"});
}

#[tokio::test]
async fn bodies_that_are_no_json_object_are_refused() {
    let api = api().await;
    let merchant = api.merchant().await;
    let events = api.events().await;
    let post = async |body: Vec<u8>| api.post(&merchant, "/api/v1/payments", body).await;

    let answer = post(b"{\"order_id\": \"1\",\n \"amount\": }".to_vec()).await;
    let problem = answer.problem(400, "malformed_json");
    assert!(problem["detail"].as_str().unwrap().contains("line 2 column 12"), "{problem}");
    for body in [
        "",
        "{",
        "{\"amount\": 1e999}",
        "{} x",
        "{\"order_id\": \"\\ud800\"}",
        &format!("{{\"a\":{}", "[".repeat(9_000)),
    ] {
        post(body.into()).await.problem(400, "malformed_json");
    }
    for body in ["[]", "null", "\"x\"", "7"] {
        let answer = post(body.into()).await;
        answer.problem(422, "invalid_fields");
        assert_eq!(answer.named_fields(), [("body".to_owned(), "wrong_type".to_owned())]);
    }
    let answer = post(b"{\"order_id\": \"a\xff\", \"amount\": \"1\"}".to_vec()).await;
    let problem = answer.problem(400, "invalid_utf8");
    assert!(problem["detail"].as_str().unwrap().contains("offset 15"), "{problem}");
    assert_eq!(answer.named_fields(), [("order_id".to_owned(), "invalid_utf8".to_owned())]);
    let answer = post(b"\xff\xfe".to_vec()).await;
    answer.problem(400, "invalid_utf8");
    assert_eq!(answer.named_fields(), [("body".to_owned(), "invalid_utf8".to_owned())]);

    let twice = r#"{"order_id":"1","order_id":"2","amount":"1","currency":"ETH","blockchain":"ethereum"}"#;
    let answer = post(twice.into()).await;
    answer.problem(422, "invalid_fields");
    assert_eq!(answer.named_fields(), [("order_id".to_owned(), "duplicate".to_owned())]);
    assert_eq!(api.events().await, events);
}

#[tokio::test]
async fn only_json_of_a_sensible_size_is_read() {
    let api = api().await;
    let merchant = api.merchant().await;
    let events = api.events().await;
    let mut padded = order("1");
    padded["order_id"] = json!("x".repeat(2 * 1024 * 1024));
    let answer = api.create(&merchant, &padded).await;
    answer.problem(413, "body_too_large");
    assert_eq!(answer.named_fields(), [("body".to_owned(), "too_large".to_owned())]);

    // Without a length, in pieces.
    let pieces = futures::stream::iter((0..40).map(|_| Ok::<_, std::io::Error>(vec![b' '; 2_000])));
    let request = merchant.request(Method::POST, "/api/v1/payments");
    api.send(request.body(axum::body::Body::from_stream(pieces)).unwrap()).await.problem(413, "body_too_large");

    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let mut request =
            merchant.request(Method::POST, "/api/v1/payments").body(order("1").to_string().into()).unwrap();
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        let answer = api.send(request).await;
        answer.problem(415, "unsupported_media_type");
        assert_eq!(answer.named_fields()[0].0, "Content-Type");
    }
    assert_eq!(api.events().await, events);

    // In small pieces and with a charset it is read.
    let text = order("1").to_string();
    let pieces: Vec<_> = text.as_bytes().chunks(7).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let body = axum::body::Body::from_stream(futures::stream::iter(pieces));
    let mut request = merchant.request(Method::POST, "/api/v1/payments").body(body).unwrap();
    request.headers_mut().insert("content-type", "Application/JSON; charset=utf-8".parse().unwrap());
    assert_eq!(api.send(request).await.status, 201);
}

#[tokio::test]
async fn unknown_parameters_are_refused() {
    let api = api().await;
    let merchant = api.merchant().await;
    for (path, field) in [
        ("/api/v1/payments?statsu=completed", "statsu"),
        ("/api/v1/payments?status=paid", "status"),
        ("/api/v1/payments?status=pending&status=completed", "status"),
        ("/api/v1/payments?blockchain=Ether%20eum", "blockchain"),
        ("/api/v1/payments?order_id=%00", "order_id"),
        ("/api/v1/payments?currency=", "currency"),
        ("/api/v1/payments?created_from=yesterday", "created_from"),
        ("/api/v1/payments?created_to=2026-13-01T00:00:00Z", "created_to"),
        ("/api/v1/payments?limit=0", "limit"),
        ("/api/v1/payments?limit=101", "limit"),
        ("/api/v1/payments?limit=ten", "limit"),
        ("/api/v1/payments?cursor=abc", "cursor"),
        // Well formed, and long before the first year that Postgres knows.
        ("/api/v1/payments?cursor=90a000aaaa0a00aa0aa0000aa0aa0aaaaaaa000a00000aaa", "cursor"),
        ("/api/v1/balances?asset=x", "asset"),
    ] {
        let answer = api.get(&merchant, path).await;
        let problem = answer.problem(400, "invalid_query");
        assert_eq!(answer.named_fields()[0].0, field, "{problem}");
        assert_eq!(problem["instance"], path.split('?').next().unwrap());
    }
    let events = api.events().await;
    let mut body = order("1");
    body["order_id"] = json!("q");
    api.post(&merchant, "/api/v1/payments?dry_run=1", body.to_string()).await.problem(400, "invalid_query");
    assert_eq!(api.events().await, events);
}
