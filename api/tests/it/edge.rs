//! What every request meets, whatever it asks for.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Method, Request};
use wopay_api::{Check, Readiness, health_router};

use crate::support::{TestApi, api, order, shown_headers};

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let api = api().await;
    let ask = async |method: &str, path: &str| {
        api.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
    };
    for path in ["/", "/api", "/api/v1/payment", "/api/v1/payments/", "/api/v2/payments", "/%ff", "//api/v1/payments"] {
        ask("GET", path).await.problem(404, "not_found");
    }
    for (method, path, allow) in [
        ("DELETE", "/api/v1/payments", "GET,HEAD,POST"),
        ("PUT", "/api/v1/payments", "GET,HEAD,POST"),
        ("POST", "/api/v1/payments/1", "GET,HEAD"),
        ("GET", "/api/v1/payments/1/cancel", "POST"),
        ("BREW", "/api/v1/balances", "GET,HEAD"),
    ] {
        let answer = ask(method, path).await;
        answer.problem(405, "method_not_allowed");
        let mut allowed: Vec<_> = shown_headers(&answer)["allow"].split(',').map(str::to_owned).collect();
        allowed.sort();
        assert_eq!(allowed.join(","), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn every_answer_carries_the_request_id() {
    let api = api().await;
    let merchant = api.merchant().await;
    let ask = async |id: &[u8]| {
        let mut request = merchant.request(Method::GET, "/api/v1/balances").body(Body::empty()).unwrap();
        request.headers_mut().insert("x-request-id", axum::http::HeaderValue::from_bytes(id).unwrap());
        api.send(request).await.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(ask(b"a.b_c~d:e@f/g+h=i-9").await, "a.b_c~d:e@f/g+h=i-9");
    for bad in [b"".as_slice(), b"a b", b"a\"b", &[b'a'; 129], b"\xff"] {
        uuid::Uuid::parse_str(&ask(bad).await).unwrap();
    }
    let answer = api.get(&merchant, "/nowhere").await;
    assert_eq!(answer.problem(404, "not_found")["request_id"], answer.headers["x-request-id"].to_str().unwrap());
}

#[tokio::test]
async fn problems_explain_themselves() {
    let api = api().await;
    let merchant = api.merchant().await;
    let problem = api.create(&merchant, &serde_json::json!({})).await.json();
    let explained = api.get(&merchant, problem["type"].as_str().unwrap()).await.json();
    assert_eq!((&explained["code"], &explained["title"]), (&problem["code"], &problem["title"]));
    api.get(&merchant, "/problems/nonsense").await.problem(404, "not_found");
}

struct Fixed(bool);

#[async_trait]
impl Readiness for Fixed {
    async fn checks(&self) -> Vec<Check> {
        let detail = Some("7 behind".to_owned());
        vec![
            Check { name: "postgres".to_owned(), ready: true, critical: true, detail: None },
            Check { name: "follower:projections".to_owned(), ready: self.0, critical: true, detail },
        ]
    }
}

fn with_health(api: &mut TestApi, ready: bool) {
    let health = health_router(Arc::new(Fixed(ready)), Arc::new(|| "wopay_up 1\n".to_owned()));
    api.router = api.router.clone().merge(health);
}

#[tokio::test]
async fn probes_are_answered_beside_the_api() {
    let mut api = api().await;
    with_health(&mut api, true);
    let merchant = api.merchant().await;
    assert_eq!(api.get(&merchant, "/livez").await.text, "ok");
    assert_eq!(api.get(&merchant, "/metrics").await.text, "wopay_up 1\n");
    let answer = api.post(&merchant, "/livez", "").await;
    answer.problem(405, "method_not_allowed");
    assert!(shown_headers(&answer)["allow"].contains("GET"));
    let ready = api.get(&merchant, "/readyz").await;
    assert_eq!((ready.status.as_u16(), &ready.json()["status"]), (200, &"ready".into()));
    assert_eq!(ready.json()["checks"][1]["detail"], "7 behind");
    assert_eq!(api.create(&merchant, &order("1")).await.status, 201);
}

#[tokio::test]
async fn a_process_that_is_not_ready_says_what_is_missing() {
    let mut api = api().await;
    with_health(&mut api, false);
    let merchant = api.merchant().await;
    let answer = api.get(&merchant, "/readyz").await;
    let problem = answer.problem(503, "not_ready");
    assert_eq!(answer.named_fields(), [("follower:projections".to_owned(), "not_ready".to_owned())]);
    assert_eq!(problem["errors"][0]["message"], "7 behind");
}
