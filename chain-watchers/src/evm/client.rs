//! JSON-RPC over HTTP: one endpoint, with limits, retries of what is transient, metrics, and errors that can be read.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use ethers::providers::{JsonRpcClient, JsonRpcError};
use metrics::{counter, histogram};
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;
use wopay_domain::ChainName;

use super::error::CallError;
use crate::config::{ConfigError, WatcherConfig};

const IDLE_CONNECTION_FOR: Duration = Duration::from_secs(60);
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
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<JsonRpcError>,
}

/// One answer of a batch.
#[derive(Deserialize)]
struct Numbered<'a> {
    id: u64,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<JsonRpcError>,
}

/// An HTTP answer, read.
struct Answer {
    status: StatusCode,
    content_type: String,
    body: Vec<u8>,
}

impl RpcClient {
    /// A client of each configured endpoint, in their order.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub(crate) fn of(config: &WatcherConfig) -> Result<Vec<Self>, ConfigError> {
        let options = &config.rpc_options;
        let name = &config.chain.name;
        let http = reqwest::Client::builder()
            .connect_timeout(options.connect_timeout)
            .timeout(options.request_timeout)
            .pool_idle_timeout(IDLE_CONNECTION_FOR)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| ConfigError::Client { chain: name.clone(), reason: error.to_string() })?;
        let client = |url: &Url| Self::new(http.clone(), url.clone(), name.clone(), options.response_bytes_max);
        Ok(config.rpc.iter().map(client).collect())
    }

    fn new(http: reqwest::Client, url: Url, chain: ChainName, response_bytes_max: usize) -> Self {
        let endpoint = label(&url);
        Self { http, url: Secret(url), chain, endpoint, response_bytes_max, next_id: AtomicU64::new(1) }
    }

    /// Host and port: what may be shown of the URL.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Calls a method; what is transient is tried again.
    pub(crate) async fn ask<T, R>(&self, method: &str, params: &T) -> Result<R, CallError>
    where
        T: Serialize + Sync,
        R: DeserializeOwned,
    {
        let policy = ExponentialBuilder::default()
            .with_min_delay(RETRY_DELAY_MIN)
            .with_max_delay(RETRY_DELAY_MAX)
            .with_max_times(RETRIES)
            .with_jitter();
        (|| self.call(method, params)).retry(policy).when(CallError::is_transient).await
    }

    async fn call<T: Serialize, R: DeserializeOwned>(&self, method: &str, params: &T) -> Result<R, CallError> {
        let begun = Instant::now();
        let result = self.call_once(method, params).await;
        self.count(method, result.as_ref().err(), begun);
        result
    }

    async fn call_once<T: Serialize, R: DeserializeOwned>(&self, method: &str, params: &T) -> Result<R, CallError> {
        let request = Request { jsonrpc: "2.0", id: self.next_ids(1), method, params };
        let answer = self.exchange(method, &request).await?;
        let parsed: Result<Response<'_>, _> = serde_json::from_slice(&answer.body);
        match parsed {
            // Some nodes send their errors with a status of 4xx or 5xx.
            Ok(Response { error: Some(source), .. }) => Err(self.node_error(method, source)),
            _ if !answer.status.is_success() => Err(self.status_error(method, answer.status)),
            Ok(Response { result, .. }) => self.read_result(method, result),
            Err(source) => Err(self.not_json_rpc(method, answer.content_type, source)),
        }
    }

    /// Calls one method with many parameters in one request. The results are in the order of the parameters; each may be
    /// the node's own error.
    ///
    /// # Errors
    /// When the request as a whole got no usable answer; [`CallError::Node`] when the node refused it as a whole, as those
    /// do that take no batches, or smaller ones only.
    pub(crate) async fn batch<T: Serialize, R: DeserializeOwned>(
        &self,
        method: &str,
        params: &[T],
    ) -> Result<Vec<Result<R, CallError>>, CallError> {
        let begun = Instant::now();
        let policy = ExponentialBuilder::default()
            .with_min_delay(RETRY_DELAY_MIN)
            .with_max_delay(RETRY_DELAY_MAX)
            .with_max_times(RETRIES)
            .with_jitter();
        let result = (|| self.batch_once(method, params)).retry(policy).when(CallError::is_transient).await;
        self.count(&format!("{method} (batch)"), result.as_ref().err(), begun);
        result
    }

    async fn batch_once<T: Serialize, R: DeserializeOwned>(
        &self,
        method: &str,
        params: &[T],
    ) -> Result<Vec<Result<R, CallError>>, CallError> {
        let first = self.next_ids(u64::try_from(params.len()).unwrap_or(u64::MAX));
        let requests: Vec<_> =
            (first..).zip(params).map(|(id, params)| Request { jsonrpc: "2.0", id, method, params }).collect();
        let answer = self.exchange(method, &requests).await?;
        // What is no list is one error for all of it.
        if !answer.body.trim_ascii_start().starts_with(b"[") {
            return Err(match serde_json::from_slice(&answer.body) {
                Ok(Response { error: Some(source), .. }) => self.node_error(method, source),
                _ if !answer.status.is_success() => self.status_error(method, answer.status),
                Ok(_) => CallError::Unanswered { endpoint: self.endpoint.clone(), method: method.to_owned() },
                Err(source) => self.not_json_rpc(method, answer.content_type, source),
            });
        }
        let responses: Vec<Numbered<'_>> = serde_json::from_slice(&answer.body)
            .map_err(|source| self.not_json_rpc(method, answer.content_type.clone(), source))?;
        // They come in any order.
        let mut by_id: HashMap<u64, Numbered<'_>> =
            responses.into_iter().map(|response| (response.id, response)).collect();
        let results = requests.iter().map(|request| match by_id.remove(&request.id) {
            Some(Numbered { error: Some(source), .. }) => Ok(Err(self.node_error(method, source))),
            Some(Numbered { result, .. }) => Ok(self.read_result(method, result)),
            None => Err(CallError::Unanswered { endpoint: self.endpoint.clone(), method: method.to_owned() }),
        });
        results.collect()
    }

    /// The first of so many request ids in a row.
    fn next_ids(&self, count: u64) -> u64 {
        self.next_id.fetch_add(count, Ordering::Relaxed)
    }

    /// Posts a body and reads the answer, as far as it may go.
    async fn exchange(&self, method: &str, body: &impl Serialize) -> Result<Answer, CallError> {
        // The client's errors name the URL, credentials and all.
        let transport = |source: reqwest::Error| CallError::Transport {
            endpoint: self.endpoint.clone(),
            method: method.to_owned(),
            source: source.without_url(),
        };
        let mut response = self.http.post(self.url.0.clone()).json(body).send().await.map_err(transport)?;
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
        Ok(Answer { status, content_type, body })
    }

    /// A result of `null` counts as none: both are read as `null`.
    fn read_result<R: DeserializeOwned>(&self, method: &str, result: Option<&RawValue>) -> Result<R, CallError> {
        serde_json::from_str(result.map_or("null", RawValue::get)).map_err(|source| CallError::Shape {
            endpoint: self.endpoint.clone(),
            method: method.to_owned(),
            source,
        })
    }

    fn node_error(&self, method: &str, source: JsonRpcError) -> CallError {
        CallError::Node { endpoint: self.endpoint.clone(), method: method.to_owned(), source }
    }

    fn status_error(&self, method: &str, status: StatusCode) -> CallError {
        CallError::Status { endpoint: self.endpoint.clone(), method: method.to_owned(), status: status.as_u16() }
    }

    fn not_json_rpc(&self, method: &str, content_type: String, source: serde_json::Error) -> CallError {
        let (endpoint, method) = (self.endpoint.clone(), method.to_owned());
        CallError::NotJsonRpc { endpoint, method, content_type, source }
    }

    fn count(&self, method: &str, error: Option<&CallError>, begun: Instant) {
        let labels = [
            ("chain", self.chain.to_string()),
            ("endpoint", self.endpoint.clone()),
            ("method", method.to_owned()),
            ("outcome", outcome(error).to_owned()),
        ];
        counter!("wopay_chain_watchers_rpc_calls_total", &labels).increment(1);
        histogram!("wopay_chain_watchers_rpc_seconds", &labels).record(begun.elapsed().as_secs_f64());
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
        self.ask(method, &params).await
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
        Some(CallError::Unanswered { .. }) => "unanswered",
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
