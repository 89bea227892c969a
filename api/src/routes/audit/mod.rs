//! `/api/v1/audit`: the Merkle log over all events, in the formats of C2SP. Heads and hashes are anybody's, since they tell
//! nothing of what they seal; what was recorded is the auditor's, and a merchant's where it is its own.

pub(crate) mod checkpoint;
pub(crate) mod proof;
pub(crate) mod tile;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// For what never changes and tells nothing: any cache may keep it for ever.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// For what never changes and is not for everybody.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// A text that never changes.
fn text(text: String, cache: HeaderValue) -> Response {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    ([(header::CONTENT_TYPE, plain), (header::CACHE_CONTROL, cache)], text).into_response()
}

/// Bytes that never change.
fn bytes(bytes: Vec<u8>, cache: HeaderValue) -> Response {
    let binary = HeaderValue::from_static("application/octet-stream");
    ([(header::CONTENT_TYPE, binary), (header::CACHE_CONTROL, cache)], bytes).into_response()
}
