//! What operators see of requests: one log line, one metric, and never a key.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;

use axum::http::Method;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;

use crate::support::{api, order};

thread_local! {
    /// What this thread has logged, if anybody asked.
    static LOGGED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Keeps the log lines of threads that asked for them. One subscriber for the process: `tracing` remembers for each call
/// site whether anybody listens, and subscribers of single threads race with that.
struct ToThread;

impl Write for ToThread {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.as_mut().map(|logged| logged.extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn log_to_thread() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let subscriber =
            tracing_subscriber::fmt().json().with_max_level(tracing::Level::TRACE).with_writer(|| ToThread);
        tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    });
    LOGGED.set(Some(Vec::new()));
}

// The runtime of a test has one thread, so that thread's log is that of the test's requests.
#[tokio::test]
async fn a_request_is_one_line_of_json_without_the_key() {
    let api = api().await;
    let merchant = api.merchant().await;
    log_to_thread();
    let request = merchant.request(Method::POST, "/api/v1/payments").header("x-request-id", "req-1");
    api.send(request.body(order("1").to_string().into()).unwrap()).await;
    let id = uuid::Uuid::now_v7();
    let request = merchant.request(Method::GET, &format!("/api/v1/payments/{id}?secret=1"));
    api.send(request.body("".into()).unwrap()).await;

    let written = String::from_utf8(LOGGED.take().unwrap()).unwrap();
    assert!(!written.contains(&merchant.api_key));
    let lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let access: Vec<_> = lines.iter().filter(|line| line["target"] == "wopay_api::access").collect();
    assert_eq!(access.len(), 2, "{written}");
    let fields = &access[0]["fields"];
    assert_eq!((&fields["method"], &fields["status"]), (&"POST".into(), &201.into()));
    assert_eq!(fields["route"], "/api/v1/payments");
    assert_eq!(fields["merchant_id"], merchant.id.to_string());
    assert_eq!(fields["request_id"], "req-1");
    assert!(fields["latency_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(access[0]["span"]["request_id"], "req-1");
    assert_eq!(access[1]["fields"]["route"], "/api/v1/payments/{id}", "templates, not ids");
    assert_eq!(access[1]["fields"]["status"], 400);
}

#[tokio::test]
async fn a_request_is_measured_by_template_and_status() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let rendered = recorder.handle();
    let guard = metrics::set_default_local_recorder(&recorder);
    let api = api().await;
    let merchant = api.merchant().await;
    for order_id in ["1", "1", "2"] {
        api.create(&merchant, &order(order_id)).await;
    }
    api.get(&merchant, "/nowhere/17").await;
    let request = merchant.request(Method::from_bytes(b"BREW").unwrap(), "/api/v1/balances");
    api.send(request.body("".into()).unwrap()).await;
    drop(guard);
    let rendered = rendered.render();
    let counted = |labels: &str| {
        let series = format!("wopay_api_request_duration_seconds_count{{{labels}}} ");
        let line = rendered.lines().find(|line| line.starts_with(&series));
        line.unwrap_or_else(|| panic!("no {series} in {rendered}"))[series.len()..].to_owned()
    };
    assert_eq!(counted(r#"method="POST",route="/api/v1/payments",status="201""#), "2");
    assert_eq!(counted(r#"method="POST",route="/api/v1/payments",status="200""#), "1");
    assert_eq!(counted(r#"method="GET",route="unmatched",status="404""#), "1");
    assert_eq!(counted(r#"method="other",route="/api/v1/balances",status="405""#), "1");
}
