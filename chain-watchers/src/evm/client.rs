//! JSON-RPC over HTTP: one endpoint, with limits, retries of what is transient, metrics, and errors that can be read.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use ethers::providers::JsonRpcError;
use metrics::{counter, histogram};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::warn;
use url::Url;
use wopay_domain::ChainName;

use super::discretion::Discretion;
use super::error::CallError;
use crate::config::{ConfigError, WatcherConfig};
use crate::pool::{Meter, Outcome, Patience};

const IDLE_CONNECTION_FOR: Duration = Duration::from_secs(60);
const RETRIES: usize = 2;
const RETRY_DELAY_MIN: Duration = Duration::from_millis(30);
const RETRY_DELAY_MAX: Duration = Duration::from_millis(500);

/// A client of one endpoint.
#[derive(Debug)]
pub(crate) struct RpcClient {
    http: reqwest::Client,
    url: Secret,
    chain: ChainName,
    /// Host and port.
    endpoint: String,
    discretion: Discretion,
    response_bytes_max: usize,
    next_id: AtomicU64,
    meter: Arc<Meter>,
    /// No other endpoint can be asked instead.
    is_alone: bool,
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
    /// An error may name none.
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
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
    retry_after: Option<Duration>,
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
        let client = |url: &Url| {
            let endpoint = label(url);
            Self {
                http: http.clone(),
                url: Secret(url.clone()),
                discretion: Discretion::of(url),
                chain: name.clone(),
                meter: Arc::new(Meter::new(name.clone(), endpoint.clone(), options.budget_per_hour)),
                endpoint,
                response_bytes_max: options.response_bytes_max,
                next_id: AtomicU64::new(1),
                is_alone: config.rpc.len() == 1,
            }
        };
        Ok(config.rpc.iter().map(client).collect())
    }

    /// What is known of the endpoint.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The same, to keep.
    pub(crate) fn shared_meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
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
        self.ask_with(Patience::Short, method, params).await
    }

    /// The same, with so much patience.
    pub(crate) async fn ask_with<T, R>(&self, patience: Patience, method: &str, params: &T) -> Result<R, CallError>
    where
        T: Serialize + Sync,
        R: DeserializeOwned,
    {
        (|| self.call(patience, method, params)).retry(retries()).when(|error| self.may_retry(error)).await
    }

    /// A refusal is waited for only where there is nobody else to ask; how long, the meter knows.
    fn may_retry(&self, error: &CallError) -> bool {
        error.is_transient() || (self.is_alone && error.refusal().is_some())
    }

    /// Makes one exchange with the endpoint, when its turn has come, and notes what that says of it.
    async fn metered<T>(
        &self,
        patience: Patience,
        method: &str,
        calls: usize,
        exchange: impl Future<Output = Result<T, CallError>>,
        refused_inside: impl Fn(&T) -> bool,
    ) -> Result<T, CallError> {
        let (endpoint, method) = (self.endpoint.clone(), method.to_owned());
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        let admitted = self.meter.admit(calls, patience).await;
        admitted.map_err(|reason| CallError::NotAsked { endpoint, method, reason })?;
        let result = exchange.await;
        let outcome = match &result {
            Ok(answer) if refused_inside(answer) => Outcome::Refused(None),
            Ok(_) => Outcome::Answered,
            Err(error) => error.outcome(),
        };
        if self.meter.note(outcome) {
            warn!(chain = %self.chain, endpoint = self.endpoint, "this endpoint is left alone for a while");
        }
        result
    }

    async fn call<T: Serialize, R: DeserializeOwned>(
        &self,
        patience: Patience,
        method: &str,
        params: &T,
    ) -> Result<R, CallError> {
        let begun = Instant::now();
        let result = self.metered(patience, method, 1, self.call_once(method, params), |_| false).await;
        self.count(method, result.as_ref().err(), begun);
        result
    }

    async fn call_once<T: Serialize, R: DeserializeOwned>(&self, method: &str, params: &T) -> Result<R, CallError> {
        let id = self.next_ids(1);
        let request = Request { jsonrpc: "2.0", id, method, params };
        let answer = self.exchange(method, &request).await?;
        let parsed: Result<Response<'_>, _> = serde_json::from_slice(&answer.body);
        match parsed {
            // Whatever the body says.
            _ if answer.is_refusal() => Err(self.status_error(method, &answer)),
            // Some nodes send their errors with a status of 4xx or 5xx.
            Ok(Response { error: Some(source), .. }) => Err(self.node_error(method, &source)),
            _ if !answer.status.is_success() => Err(self.status_error(method, &answer)),
            Ok(Response { id: named, result, .. }) if named.is_some_and(|named| named.get() == id.to_string()) => {
                self.read_result(method, result)
            }
            Ok(_) => Err(CallError::Misaddressed { endpoint: self.endpoint.clone(), method: method.to_owned() }),
            Err(source) => Err(self.not_json_rpc(method, answer.content_type, &source)),
        }
    }

    /// Calls one method with many parameters in one request. The results are in the order of the parameters; each may be
    /// the node's own error. Whoever has patience is told of a refusal at once: fewer calls may be taken.
    ///
    /// # Errors
    /// When the request as a whole got no usable answer; [`CallError::Node`] when the node refused it as a whole, as those
    /// do that take no batches, or smaller ones only.
    pub(crate) async fn batch<T: Serialize, R: DeserializeOwned>(
        &self,
        patience: Patience,
        method: &str,
        params: &[T],
    ) -> Result<Vec<Result<R, CallError>>, CallError> {
        let begun = Instant::now();
        // Some nodes count each call of a batch and refuse those that are too many.
        let refused = |answers: &Vec<Result<R, CallError>>| {
            answers.iter().any(|answer| answer.as_ref().is_err_and(|error| error.refusal().is_some()))
        };
        let ask = || self.metered(patience, method, params.len(), self.batch_once(method, params), refused);
        let may_retry = |error: &CallError| match patience {
            Patience::Short => self.may_retry(error),
            Patience::Long => error.is_transient(),
        };
        let result = ask.retry(retries()).when(may_retry).await;
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
                _ if answer.is_refusal() => self.status_error(method, &answer),
                Ok(Response { error: Some(source), .. }) => self.node_error(method, &source),
                _ if !answer.status.is_success() => self.status_error(method, &answer),
                Ok(_) => CallError::Unanswered { endpoint: self.endpoint.clone(), method: method.to_owned() },
                Err(source) => self.not_json_rpc(method, answer.content_type, &source),
            });
        }
        let responses: Vec<Numbered<'_>> = serde_json::from_slice(&answer.body)
            .map_err(|source| self.not_json_rpc(method, answer.content_type.clone(), &source))?;
        // They come in any order.
        let mut by_id: HashMap<u64, Numbered<'_>> =
            responses.into_iter().map(|response| (response.id, response)).collect();
        let results = requests.iter().map(|request| match by_id.remove(&request.id) {
            Some(Numbered { error: Some(source), .. }) => Ok(Err(self.node_error(method, &source))),
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
        let content_type = self.clean(content_type.unwrap_or("none"));
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| read_retry_after(value.to_str().ok()?));
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
        Ok(Answer { status, content_type, retry_after, body })
    }

    /// A result of `null` counts as none: both are read as `null`.
    fn read_result<R: DeserializeOwned>(&self, method: &str, result: Option<&RawValue>) -> Result<R, CallError> {
        serde_json::from_str(result.map_or("null", RawValue::get)).map_err(|source| CallError::Shape {
            endpoint: self.endpoint.clone(),
            method: method.to_owned(),
            source: self.clean_error(&source),
        })
    }

    /// What a node says, as it may be shown.
    pub(crate) fn clean(&self, said: &str) -> String {
        self.discretion.clean(said)
    }

    /// It names what was found instead of what was expected.
    fn clean_error(&self, error: &serde_json::Error) -> serde_json::Error {
        serde::de::Error::custom(self.clean(&error.to_string()))
    }

    fn node_error(&self, method: &str, error: &JsonRpcError) -> CallError {
        let said = JsonRpcError { code: error.code, message: self.clean(&error.message), data: None };
        CallError::Node { endpoint: self.endpoint.clone(), method: method.to_owned(), said }
    }

    fn status_error(&self, method: &str, answer: &Answer) -> CallError {
        let (endpoint, method, status) = (self.endpoint.clone(), method.to_owned(), answer.status.as_u16());
        match status {
            401 | 403 => CallError::Unauthorized { endpoint, method, status },
            _ => CallError::Status {
                endpoint,
                method,
                status,
                content_type: answer.content_type.clone(),
                retry_after: answer.retry_after,
            },
        }
    }

    fn not_json_rpc(&self, method: &str, content_type: String, source: &serde_json::Error) -> CallError {
        let (endpoint, method) = (self.endpoint.clone(), method.to_owned());
        CallError::NotJsonRpc { endpoint, method, content_type, source: self.clean_error(source) }
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

impl Answer {
    /// Whether its status alone says that we are not served.
    fn is_refusal(&self) -> bool {
        matches!(self.status.as_u16(), 401 | 403 | 429)
    }
}

fn retries() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(RETRY_DELAY_MIN)
        .with_max_delay(RETRY_DELAY_MAX)
        .with_max_times(RETRIES)
        .with_jitter()
}

/// Seconds, or a date.
fn read_retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    Some(date.signed_duration_since(chrono::Utc::now()).to_std().unwrap_or_default())
}

fn outcome(error: Option<&CallError>) -> &'static str {
    match error {
        None => "ok",
        Some(error) if error.refusal().is_some() => "refused",
        Some(CallError::NotAsked { .. }) => "not_asked",
        Some(CallError::Unauthorized { .. }) => "unauthorized",
        Some(CallError::Transport { .. }) => "transport",
        Some(CallError::Status { .. }) => "status",
        Some(CallError::TooLarge { .. }) => "too_large",
        Some(CallError::NotJsonRpc { .. }) => "not_json_rpc",
        Some(CallError::Shape { .. }) => "shape",
        Some(CallError::Node { .. }) => "node_error",
        Some(CallError::Unanswered { .. }) => "unanswered",
        Some(CallError::Misaddressed { .. }) => "misaddressed",
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
