//! A proxy in front of a real node, for what a real node cannot be made to do: HTML, lies, missing methods. Everything it
//! is not told to change is the real node's answer.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// What to answer instead of the node's answer.
#[derive(Debug)]
pub enum Instead {
    /// The node's answer.
    Nothing,
    /// Another JSON-RPC answer; its id is the call's.
    Json(Value),
    /// An answer that names another call.
    Astray,
    /// A page.
    Html(u16),
    /// 429, with a `Retry-After` of so many seconds.
    TooMany(Option<u64>),
    /// The node's answer, after so long.
    Late(Duration),
}

/// What the script is asked about a batch.
pub const BATCH: &str = "(batch)";

type Script = Box<dyn FnMut(&str, &Value, Value) -> Instead + Send>;

/// A proxy on a free loopback port; ends with this value.
pub struct RpcProxy {
    /// Where it listens.
    pub url: String,
    state: Arc<ProxyState>,
    task: JoinHandle<()>,
}

struct ProxyState {
    node: String,
    client: reqwest::Client,
    script: Mutex<Script>,
    calls: Mutex<Vec<String>>,
}

impl RpcProxy {
    /// In front of that node. Changes nothing until told.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn new(node: &str) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(ProxyState {
            node: node.to_owned(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            script: Mutex::new(Box::new(|_, _, _| Instead::Nothing)),
            calls: Mutex::default(),
        });
        let app = Router::new().fallback(forward).with_state(Arc::clone(&state));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, state, task }
    }

    /// From now on asks `script(method, params, answer of the node)` about every call.
    ///
    /// # Panics
    /// After a script has panicked.
    pub fn script(&self, script: impl FnMut(&str, &Value, Value) -> Instead + Send + 'static) {
        *self.state.script.lock().unwrap() = Box::new(script);
    }

    /// Nothing is changed from now on.
    pub fn honest(&self) {
        self.script(|_, _, _| Instead::Nothing);
    }

    /// The methods called so far.
    ///
    /// # Panics
    /// After a script has panicked.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.state.calls.lock().unwrap().clone()
    }
}

impl fmt::Debug for RpcProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcProxy").field("url", &self.url).field("node", &self.state.node).finish_non_exhaustive()
    }
}

impl Drop for RpcProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The script is asked about a batch as a whole (by the method [`BATCH`]), then about each of its calls.
async fn forward(State(state): State<Arc<ProxyState>>, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap();
    let Value::Array(calls) = request else {
        return match call(&state, &request).await {
            Some(Instead::Json(mut answer)) => {
                answer["id"] = request["id"].clone();
                axum::Json(answer).into_response()
            }
            Some(other) => other.into_response(),
            None => StatusCode::BAD_GATEWAY.into_response(),
        };
    };
    state.calls.lock().unwrap().push(BATCH.to_owned());
    let instead = (state.script.lock().unwrap())(BATCH, &Value::Array(calls.clone()), Value::Null);
    match instead {
        Instead::Nothing => {}
        Instead::Json(other) => return axum::Json(other).into_response(),
        Instead::Late(time) => tokio::time::sleep(time).await,
        other => return other.into_response(),
    }
    let mut answers = Vec::new();
    for request in &calls {
        match call(&state, request).await {
            Some(Instead::Json(mut answer)) => {
                answer["id"] = request["id"].clone();
                // In no order that a client may rely on.
                answers.insert(0, answer);
            }
            Some(other) => return other.into_response(),
            None => return StatusCode::BAD_GATEWAY.into_response(),
        }
    }
    axum::Json(answers).into_response()
}

/// What to answer to one call; `None` when the node is away.
async fn call(state: &ProxyState, request: &Value) -> Option<Instead> {
    let method = request["method"].as_str().unwrap().to_owned();
    state.calls.lock().unwrap().push(method.clone());
    let answer: Value = state.client.post(&state.node).json(request).send().await.ok()?.json().await.unwrap();
    let instead = (state.script.lock().unwrap())(&method, &request["params"], answer.clone());
    Some(match instead {
        Instead::Nothing => Instead::Json(answer),
        Instead::Late(time) => {
            tokio::time::sleep(time).await;
            Instead::Json(answer)
        }
        other => other,
    })
}

impl Instead {
    fn into_response(self) -> Response {
        match self {
            Self::Json(answer) => axum::Json(answer).into_response(),
            Self::Astray => axum::Json(json!({"jsonrpc": "2.0", "id": "another", "result": null})).into_response(),
            Self::Html(status) => page(status),
            Self::TooMany(Some(seconds)) => {
                (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds.to_string())]).into_response()
            }
            Self::TooMany(None) => StatusCode::TOO_MANY_REQUESTS.into_response(),
            Self::Nothing | Self::Late(_) => StatusCode::BAD_GATEWAY.into_response(),
        }
    }
}

fn page(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [(header::CONTENT_TYPE, "text/html")], "<html>Just a moment…</html>").into_response()
}
