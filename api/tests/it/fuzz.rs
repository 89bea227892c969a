//! Whatever is sent, the answer is a 2xx or a whole 4xx problem, and only a 201 writes.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::books::{books, usdt};
use crate::support::{TestApi, TestMerchant, api};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[0-9]{0,45}(\\.[0-9]{0,25})?".prop_map(Value::from),
        "https?://[a-z0-9.:@/%\\[\\]-]{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..6).prop_map(|map| json!(map)),
        ]
    })
}

/// Bodies that are nearly right, so that values get past the first check.
fn nearly_valid() -> impl Strategy<Value = Vec<u8>> {
    let field = |good: Vec<Value>| prop_oneof![3 => prop::sample::select(good), 1 => any_json()];
    let fields = (
        prop_oneof![any::<String>().prop_map(Value::from), any_json()],
        field(vec![json!("1"), json!("100.5"), json!("0.000001")]),
        field(vec![json!("USDT"), json!("ETH"), json!("BNB")]),
        field(vec![json!("ethereum"), json!("bsc")]),
        field(vec![Value::Null, json!("https://shop.example/")]),
        field(vec![Value::Null, json!(60), json!(604_800)]),
    );
    fields.prop_map(|(order_id, amount, currency, blockchain, callback_url, expires_in)| {
        let body = json!({"order_id": order_id, "amount": amount, "currency": currency, "blockchain": blockchain,
            "callback_url": callback_url, "expires_in": expires_in});
        body.to_string().into_bytes()
    })
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => nearly_valid(),
        1 => any_json().prop_map(|json| json.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        2 => (nearly_valid(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut body, index, byte)| {
            let index = index.index(body.len());
            body[index] = byte;
            body
        }),
    ]
}

async fn check(api: &TestApi, merchant: &TestMerchant, body: Vec<u8>) {
    let events = api.events().await;
    let shown = String::from_utf8_lossy(&body).into_owned();
    let answer = api.post(merchant, "/api/v1/payments", body).await;
    let written = api.events().await - events;
    let status = answer.status.as_u16();
    match status {
        201 => assert_eq!(written, 1, "{shown}"),
        200 | 400..=499 => assert_eq!(written, 0, "{shown}"),
        _ => panic!("{shown}: {}", answer.text),
    }
    if status >= 400 {
        let code = answer.json()["code"].as_str().unwrap().to_owned();
        let problem = answer.problem(status, &code);
        assert!(!problem["errors"].as_array().unwrap().is_empty(), "{shown}: {problem}");
    }
}

#[test]
fn any_body_is_answered_with_a_payment_or_a_problem() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (api, merchant) = runtime.block_on(async {
        let api = api().await;
        let merchant = api.merchant().await;
        (api, merchant)
    });
    let mut runner = TestRunner::new(Config { cases: 600, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&bodies(), |body| {
        runtime.block_on(check(&api, &merchant, body));
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn any_query_is_answered_with_a_list_or_a_problem() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (api, merchant) = runtime.block_on(async {
        let api = api().await;
        let merchant = api.merchant().await;
        (api, merchant)
    });
    let names = ["status", "currency", "blockchain", "order_id", "created_from", "created_to", "limit", "cursor", "x"];
    let value = prop_oneof![
        "[ -~]{0,60}",
        any::<String>(),
        "[0-9a-f]{48}",
        "[0-9]{1,3}",
        "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:00:00Z"
    ];
    let queries = prop::collection::vec((prop::sample::select(names.to_vec()), value), 0..4);
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&queries, |query| {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&query).finish();
        let answer = runtime.block_on(api.get(&merchant, &format!("/api/v1/payments?{query}")));
        prop_assert!(matches!(answer.status.as_u16(), 200 | 400), "{query}: {}", answer.text);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn any_query_of_the_books_is_answered_with_them_or_a_problem() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let books = runtime.block_on(async {
        let books = books().await;
        books.api.seal().await;
        books
    });
    let paths = [
        "ledger/accounts",
        "ledger/entries",
        "ledger/statements",
        "ledger/trial-balance",
        "reports/volume",
        "reports/fees",
        "events",
        "audit/checkpoint",
        "audit/proof",
    ];
    let names = [
        "account",
        "merchant",
        "asset",
        "blockchain",
        "payment",
        "layer",
        "from_position",
        "to_position",
        "from",
        "to",
        "axis",
        "as_of",
        "effective_at",
        "limit",
        "cursor",
        "format",
        "granularity",
        "by",
        "after",
        "position",
        "size",
        "old",
        "new",
        "x",
    ];
    let known = [
        "suspense",
        "custody:ethereum",
        "ethereum",
        "posted",
        "recorded",
        "effective",
        "week",
        "merchant",
        "csv",
        "0",
        "1",
        "9",
        "9223372036854775807",
        "9223372036854775808",
        "2026-04-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999+00:00",
        "9.suspense~bsc/native",
        "9.1-1-1",
        "9.7fffffffffffffff-1-1",
        "9.7fffffffffffff~~bsc/native",
        "9.-7fffffffffffff~~bsc/native",
        "2026-02-30T00:00:00Z",
    ];
    let shop = books.shop.id.to_string();
    let known: Vec<String> = known.iter().map(|text| (*text).to_owned()).chain([shop, usdt().to_string()]).collect();
    let value = prop_oneof![6 => prop::sample::select(known), 1 => "[ -~]{0,40}", 1 => any::<String>()];
    let queries = prop::collection::vec((prop::sample::select(names.to_vec()), value), 0..5);
    let mut runner = TestRunner::new(Config { cases: 900, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(prop::sample::select(paths.to_vec()), queries, any::<bool>()), |(path, query, own)| {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&query).finish();
        let key = if own { &books.shop.api_key } else { &books.auditor.key };
        let answer = runtime.block_on(books.api.ask(Some(key), &format!("/api/v1/{path}?{query}"), &[]));
        let status = answer.status.as_u16();
        let house_only = own && path == "ledger/trial-balance" && status == 403;
        prop_assert!(house_only || matches!(status, 200 | 400 | 404 | 409), "{path}?{query}: {}", answer.text);
        Ok(())
    });
    outcome.unwrap();
}
