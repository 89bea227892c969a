//! The argument of handlers that a merchant may call, and only a merchant.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use wopay_domain::merchant::MerchantPolicy;
use wopay_domain::{Actor, ApiKeyId, MerchantId, Metadata};

use super::cache::Holder;
use super::caller::{authenticate, forbidden};
use crate::problem::Problem;
use crate::request::RequestContext;
use crate::state::AppState;

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
        let (holder, context) = authenticate(parts, state).await?;
        match holder {
            Holder::Merchant { merchant, key, policy } => Ok(Self { merchant, key, policy, context }),
            Holder::Access { .. } => Err(forbidden("This is for merchants; the key is one of the house.")),
        }
    }
}
