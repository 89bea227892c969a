//! From a request to the holder of its key, for every kind of argument that needs one.

use axum::http::header;
use axum::http::request::Parts;

use super::cache::{Holder, KeyStanding};
use crate::problem::{Problem, ProblemCode};
use crate::request::RequestContext;
use crate::state::AppState;

const KEY_BYTES_MAX: usize = 256;

/// Whose key the request carries, if requests with it are served.
pub(super) async fn authenticate(parts: &Parts, state: &AppState) -> Result<(Holder, RequestContext), Problem> {
    let context = RequestContext::of(parts);
    let known = state.parts.auth.look_up(&state.parts.ledger, bearer(parts)?).await?;
    let known = known.ok_or_else(|| Problem::unauthorized("The API key is not known."))?;
    match known.holder {
        Holder::Merchant { merchant, .. } => context.identify_merchant(merchant),
        Holder::Access { key, .. } => context.identify_access_key(key),
    }
    match known.standing {
        KeyStanding::Good => Ok((known.holder, context)),
        // Word for word the answer to an unknown key: whoever found an old key learns nothing from it.
        KeyStanding::Revoked => Err(Problem::unauthorized("The API key is not known.")),
        KeyStanding::MerchantSuspended => {
            Err(Problem::new(ProblemCode::MerchantSuspended, "Requests of this merchant are refused."))
        }
    }
}

/// The answer to a good key of another kind than is needed.
pub(super) fn forbidden(detail: &'static str) -> Problem {
    Problem::new(ProblemCode::Forbidden, detail)
}

/// The key of `Authorization: Bearer <key>`.
fn bearer(parts: &Parts) -> Result<&[u8], Problem> {
    let mut given = parts.headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = given.next() else {
        return Err(Problem::unauthorized("The request has no API key."));
    };
    let (scheme, key) = value.as_bytes().split_at_checked("Bearer ".len()).unwrap_or_default();
    let sized = (1..=KEY_BYTES_MAX).contains(&key.len());
    if !scheme.eq_ignore_ascii_case(b"Bearer ") || !sized || given.next().is_some() {
        return Err(Problem::unauthorized("The header Authorization must be `Bearer <API key>`, once."));
    }
    Ok(key)
}
