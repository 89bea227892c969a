//! In front of the network's RPC: repairs the hashes of blocks, passes everything else on.
//!
//! surfpool keeps only blocks with transactions and makes the others up when they are asked for, and it counts the hashes
//! of the two kinds differently (by height since its start, and by slot): `previousBlockhash` of a block is not the
//! `blockhash` of the one before it, as it is on every real cluster. Here both are made from the slot.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;

struct Upstream {
    url: String,
    client: reqwest::Client,
}

/// A listener on a free port and its URL.
pub(crate) async fn bind() -> io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}

pub(crate) async fn serve(listener: TcpListener, url: String) -> io::Result<()> {
    let upstream = Arc::new(Upstream { url, client: reqwest::Client::new() });
    axum::serve(listener, Router::new().route("/", post(forward)).with_state(upstream)).await
}

async fn forward(State(upstream): State<Arc<Upstream>>, body: Bytes) -> Response {
    match exchange(&upstream, body).await {
        Ok(answer) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

async fn exchange(upstream: &Upstream, body: Bytes) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let request: Value = serde_json::from_slice(&body)?;
    let sent = upstream.client.post(&upstream.url).header(header::CONTENT_TYPE, "application/json").body(body);
    let mut answer: Value = sent.send().await?.json().await?;
    match (&request, &mut answer) {
        (Value::Array(requests), Value::Array(answers)) => {
            for request in requests {
                let of_it = answers.iter_mut().find(|answer| answer["id"] == request["id"]);
                of_it.into_iter().for_each(|answer| repair(request, answer));
            }
        }
        (request, answer) => repair(request, answer),
    }
    Ok(serde_json::to_vec(&answer)?)
}

fn repair(request: &Value, answer: &mut Value) {
    let slot = request["params"][0].as_u64();
    let (true, Some(slot), Some(block)) = (request["method"] == "getBlock", slot, answer["result"].as_object_mut())
    else {
        return;
    };
    let parent = block.get("parentSlot").and_then(Value::as_u64).unwrap_or_default();
    block.insert("blockhash".to_owned(), hash(slot).into());
    block.insert("previousBlockhash".to_owned(), hash(parent).into());
}

/// 32 bytes in base58, as a block's hash is.
fn hash(slot: u64) -> String {
    let mut bytes = [7; 32];
    bytes[24..].copy_from_slice(&slot.to_be_bytes());
    bs58::encode(bytes).into_string()
}
