//! Ids in paths.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use wopay_domain::PaymentId;

use crate::problem::{Problem, ProblemCode};

const HYPHENATED_UUID_BYTES: usize = 36;

/// The one text parameter of a path.
pub(crate) struct TextPath(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for TextPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = Path::<String>::from_request_parts(parts, state).await;
        found.map(|Path(text)| Self(text)).map_err(|_| not_found())
    }
}

/// The payment that a path names. What is no id names nothing: 404, like any other id that nothing has.
pub(crate) struct PaymentPath(pub(crate) PaymentId);

impl<S: Send + Sync> FromRequestParts<S> for PaymentPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let TextPath(text) = TextPath::from_request_parts(parts, state).await?;
        // One way to write an id: `uuid` would also read braces and `urn:`.
        let id = (text.len() == HYPHENATED_UUID_BYTES).then(|| text.parse().ok()).flatten();
        id.map(Self).ok_or_else(not_found)
    }
}

fn not_found() -> Problem {
    Problem::new(ProblemCode::NotFound, "There is no such resource.")
}
