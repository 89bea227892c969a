//! The argument of handlers that a merchant may call.

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use wopay_domain::merchant::MerchantPolicy;
use wopay_domain::{Actor, ApiKeyId, MerchantId, Metadata};

use super::cache::KeyStanding;
use crate::problem::{Problem, ProblemCode};
use crate::request::RequestContext;
use crate::state::AppState;

const API_KEY_BYTES_MAX: usize = 256;

/// A merchant in good standing, with the key that it used.
#[derive(Clone, Debug)]
pub struct MerchantKey {
    merchant: MerchantId,
    key: ApiKeyId,
    policy: MerchantPolicy,
    context: RequestContext,
}

impl MerchantKey {
    /// The merchant.
    #[must_use]
    pub fn merchant(&self) -> MerchantId {
        self.merchant
    }

    /// The rules that new payments of the merchant freeze.
    #[must_use]
    pub fn policy(&self) -> MerchantPolicy {
        self.policy
    }

    /// The cause that events of this request carry.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        Metadata {
            actor: Actor::Merchant { merchant: self.merchant, key: self.key },
            request_id: Some(self.context.id().as_str().to_owned()),
            command_id: None,
        }
    }
}

impl FromRequestParts<AppState> for MerchantKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let context = RequestContext::of(parts);
        let api_key = bearer(parts)?;
        let known = state.parts.auth.look_up(&state.parts.ledger, api_key).await?;
        let known = known.ok_or_else(|| Problem::unauthorized("The API key is not known."))?;
        context.identify(known.merchant);
        match known.standing {
            KeyStanding::Good => Ok(Self { merchant: known.merchant, key: known.key, policy: known.policy, context }),
            // Word for word the answer to an unknown key: whoever found an old key learns nothing from it.
            KeyStanding::Revoked => Err(Problem::unauthorized("The API key is not known.")),
            KeyStanding::MerchantSuspended => {
                Err(Problem::new(ProblemCode::MerchantSuspended, "Requests of this merchant are refused."))
            }
        }
    }
}

/// The key of `Authorization: Bearer <key>`.
fn bearer(parts: &Parts) -> Result<&[u8], Problem> {
    let mut given = parts.headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = given.next() else {
        return Err(Problem::unauthorized("The request has no API key."));
    };
    let (scheme, key) = value.as_bytes().split_at_checked("Bearer ".len()).unwrap_or_default();
    let sized = (1..=API_KEY_BYTES_MAX).contains(&key.len());
    if !scheme.eq_ignore_ascii_case(b"Bearer ") || !sized || given.next().is_some() {
        return Err(Problem::unauthorized("The header Authorization must be `Bearer <API key>`, once."));
    }
    Ok(key)
}
