//! The header `Idempotency-Key`.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::problem::{FieldError, Problem, ProblemCode};

const HEADER: &str = "idempotency-key";
const BYTES_MAX: usize = 255;

/// The caller's own name for one request, 1 to 255 visible ASCII characters; `None` without the header.
pub(crate) struct IdempotencyKey(pub(crate) Option<String>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut given = parts.headers.get_all(HEADER).iter();
        let Some(value) = given.next() else { return Ok(Self(None)) };
        let bytes = value.as_bytes();
        let visible = bytes.iter().all(u8::is_ascii_graphic);
        match value.to_str() {
            Ok(text) if visible && (1..=BYTES_MAX).contains(&bytes.len()) && given.next().is_none() => {
                Ok(Self(Some(text.to_owned())))
            }
            _ => {
                let message = "must be given once and have 1 to 255 visible ASCII characters without blanks";
                let errors = vec![FieldError::new("Idempotency-Key", "invalid", message)];
                Err(Problem::fields(ProblemCode::InvalidHeader, "The idempotency key is not valid.", errors))
            }
        }
    }
}
