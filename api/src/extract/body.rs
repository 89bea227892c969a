//! The bytes of a JSON body: bounded, declared as JSON, UTF-8.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use futures::StreamExt;

use crate::problem::{FieldError, Problem, ProblemCode};

/// The largest body that is read.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// How much of a body that is too large is still taken off the wire, so that its sender gets to read the answer instead
/// of a reset connection.
const DRAINED_BYTES_MAX: usize = 4 * 1024 * 1024;
const DRAINED_WITHIN: Duration = Duration::from_secs(5);

/// A body of at most [`BODY_BYTES_MAX`], sent as `application/json`. Not parsed yet.
pub(crate) struct JsonBody(pub(crate) Bytes);

impl<S: Sync> FromRequest<S> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        require_json(&head.headers)?;
        let bytes = read(body, &head.headers).await?;
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(error) => Err(invalid_utf8(&bytes, error.valid_up_to())),
        }
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let essence = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|value| value.split(';').next().unwrap_or_default().trim());
    match essence {
        Some(essence) if essence.eq_ignore_ascii_case("application/json") => Ok(()),
        Some(_) => Err(not_json("must be application/json")),
        None => Err(not_json("is missing and must be application/json")),
    }
}

fn not_json(message: &'static str) -> Problem {
    let error = FieldError::new("Content-Type", "unsupported", message);
    Problem::fields(ProblemCode::UnsupportedMediaType, "The body must be sent as application/json.", vec![error])
}

async fn read(body: Body, headers: &HeaderMap) -> Result<Bytes, Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let mut stream = body.into_data_stream();
    if announced.is_some_and(|length| length > BODY_BYTES_MAX) {
        // Who asks first must not be told to go on.
        if !headers.contains_key(header::EXPECT) {
            drain(stream).await;
        }
        return Err(too_large());
    }
    let mut whole = Bytes::new();
    let mut joined: Vec<u8> = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| {
            Problem::fields(
                ProblemCode::BadRequest,
                "The body broke off.",
                vec![FieldError::new("body", "incomplete", "broke off before its end")],
            )
        })?;
        if whole.len().saturating_add(joined.len()).saturating_add(chunk.len()) > BODY_BYTES_MAX {
            drain(stream).await;
            return Err(too_large());
        }
        // Nearly every body comes in one piece, which is then used as it is.
        if whole.is_empty() && joined.is_empty() {
            whole = chunk;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut whole));
            joined.extend_from_slice(&chunk);
        }
    }
    Ok(if joined.is_empty() { whole } else { joined.into() })
}

async fn drain(mut stream: BodyDataStream) {
    let drained = async {
        let mut left = DRAINED_BYTES_MAX;
        while let Some(Ok(chunk)) = stream.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    // A sender that is too slow gets the answer at once; there is nobody to tell about it.
    let _ = tokio::time::timeout(DRAINED_WITHIN, drained).await;
}

fn too_large() -> Problem {
    let error = FieldError::new("body", "too_large", "must not be larger than 65536 bytes");
    Problem::fields(ProblemCode::BodyTooLarge, "The body is larger than 64 KiB.", vec![error])
}

/// Names the fields that hold the bad bytes where they can be told, else the body.
fn invalid_utf8(bytes: &[u8], position: usize) -> Problem {
    let lossy = String::from_utf8_lossy(bytes);
    let parsed = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&lossy).unwrap_or_default();
    let mut errors: Vec<FieldError> = parsed
        .iter()
        .filter(|(_, value)| value.as_str().is_some_and(|text| text.contains(char::REPLACEMENT_CHARACTER)))
        .map(|(name, _)| FieldError::new(crate::problem::echo(name), "invalid_utf8", "is not UTF-8"))
        .collect();
    if errors.is_empty() {
        errors.push(FieldError::new("body", "invalid_utf8", "is not UTF-8"));
    }
    Problem::fields(ProblemCode::InvalidUtf8, format!("The byte at offset {position} is not UTF-8."), errors)
}
