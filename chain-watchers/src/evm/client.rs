//! JSON-RPC over HTTP: one endpoint, with limits, retries of what is transient, metrics, and errors that can be read.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use ethers::providers::{JsonRpcClient, JsonRpcError};
use metrics::{counter, histogram};
use reqwest::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;
use wopay_domain::ChainName;

use super::error::CallError;

const RETRIES: usize = 2;
const RETRY_DELAY_MIN: Duration = Duration::from_millis(30);
const RETRY_DELAY_MAX: Duration = Duration::from_millis(500);

/// A client of one endpoint. Whoever uses it through `ethers::providers::Provider` gets [`CallError`]s inside.
#[derive(Debug)]
pub(crate) struct RpcClient {
    http: reqwest::Client,
    url: Secret,
    chain: ChainName,
    /// Host and port.
    endpoint: String,
    response_bytes_max: usize,
    next_id: AtomicU64,
}

/// A URL that may hold credentials.
struct Secret(Url);

impl Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

#[derive(Serialize)]
struct Request<'a, T> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: &'a T,
}

#[derive(Deserialize)]
struct Response<'a> {
    /// A result of `null` counts as none: both are read as `null`.
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<JsonRpcError>,
}

impl RpcClient {
    pub(crate) fn new(http: reqwest::Client, url: Url, chain: ChainName, response_bytes_max: usize) -> Self {
        let endpoint = label(&url);
        Self { http, url: Secret(url), chain, endpoint, response_bytes_max, next_id: AtomicU64::new(1) }
    }

    /// Host and port: what may be shown of the URL.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    async fn call<T: Serialize, R: DeserializeOwned>(&self, method: &str, params: &T) -> Result<R, CallError> {
        let begun = Instant::now();
        let result = self.call_once(method, params).await;
        let labels = [
            ("chain", self.chain.to_string()),
            ("endpoint", self.endpoint.clone()),
            ("method", method.to_owned()),
            ("outcome", outcome(result.as_ref().err()).to_owned()),
        ];
        counter!("wopay_chain_watchers_rpc_calls_total", &labels).increment(1);
        histogram!("wopay_chain_watchers_rpc_seconds", &labels).record(begun.elapsed().as_secs_f64());
        result
    }

    async fn call_once<T: Serialize, R: DeserializeOwned>(&self, method: &str, params: &T) -> Result<R, CallError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let request = Request { jsonrpc: "2.0", id, method, params };
        // The client's errors name the URL, credentials and all.
        let transport = |source: reqwest::Error| CallError::Transport {
            endpoint: self.endpoint.clone(),
            method: method.to_owned(),
            source: source.without_url(),
        };
        let mut response = self.http.post(self.url.0.clone()).json(&request).send().await.map_err(transport)?;
        let status = response.status();
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or("none").to_owned();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            if body.len().saturating_add(chunk.len()) > self.response_bytes_max {
                return Err(CallError::TooLarge {
                    endpoint: self.endpoint.clone(),
                    method: method.to_owned(),
                    bytes_max: self.response_bytes_max,
                });
            }
            body.extend_from_slice(&chunk);
        }
        let parsed: Result<Response<'_>, _> = serde_json::from_slice(&body);
        match parsed {
            // Some nodes send their errors with a status of 4xx or 5xx.
            Ok(Response { error: Some(source), .. }) => {
                Err(CallError::Node { endpoint: self.endpoint.clone(), method: method.to_owned(), source })
            }
            _ if !status.is_success() => Err(CallError::Status {
                endpoint: self.endpoint.clone(),
                method: method.to_owned(),
                status: status.as_u16(),
            }),
            Ok(Response { result, .. }) => {
                serde_json::from_str(result.map_or("null", RawValue::get)).map_err(|source| CallError::Shape {
                    endpoint: self.endpoint.clone(),
                    method: method.to_owned(),
                    source,
                })
            }
            Err(source) => Err(CallError::NotJsonRpc {
                endpoint: self.endpoint.clone(),
                method: method.to_owned(),
                content_type,
                source,
            }),
        }
    }
}

#[async_trait]
impl JsonRpcClient for RpcClient {
    type Error = CallError;

    async fn request<T, R>(&self, method: &str, params: T) -> Result<R, Self::Error>
    where
        T: Debug + Serialize + Send + Sync,
        R: DeserializeOwned + Send,
    {
        let policy = ExponentialBuilder::default()
            .with_min_delay(RETRY_DELAY_MIN)
            .with_max_delay(RETRY_DELAY_MAX)
            .with_max_times(RETRIES)
            .with_jitter();
        (|| self.call(method, &params)).retry(policy).when(CallError::is_transient).await
    }
}

fn outcome(error: Option<&CallError>) -> &'static str {
    match error {
        None => "ok",
        Some(CallError::Transport { .. }) => "transport",
        Some(CallError::Status { .. }) => "status",
        Some(CallError::TooLarge { .. }) => "too_large",
        Some(CallError::NotJsonRpc { .. }) => "not_json_rpc",
        Some(CallError::Shape { .. }) => "shape",
        Some(CallError::Node { .. }) => "node_error",
    }
}

/// Host and port of a URL: paths and queries of providers hold keys.
fn label(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn labels_hold_no_credentials() {
        let shown = |url: &str| label(&url.parse().unwrap());
        assert_eq!(shown("https://user:key@mainnet.example/v3/key?key=key"), "mainnet.example");
        assert_eq!(shown("http://127.0.0.1:8545"), "127.0.0.1:8545");
    }
}
