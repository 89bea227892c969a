//! What is known of a request while it is served: its id, and who turned out to make it.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;
use wopay_domain::{AccessKeyId, MerchantId};

/// Carries the request id in both directions.
pub static REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

const REQUEST_ID_BYTES_MAX: usize = 128;

/// Names a request in its answer, in logs and in the metadata of the events that it causes.
///
/// Always visible ASCII: what a caller sends is taken only if it has 1 to 128 characters of `A-Z a-z 0-9 . _ ~ : @ / + = -`.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's id if it is valid, else a new UUID v7.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get(&REQUEST_ID_HEADER) {
            Some(value) if is_safe(value.as_bytes()) => Self(value.clone()),
            _ => Self::new(),
        }
    }

    fn new() -> Self {
        let mut buffer = Uuid::encode_buffer();
        let text = Uuid::now_v7().as_hyphenated().encode_lower(&mut buffer);
        Self(HeaderValue::from_str(text).expect("a UUID is visible ASCII"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_safe(bytes: &[u8]) -> bool {
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"._~:@/+=-".contains(byte);
    (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(safe)
}

/// Travels with the request through the layers.
#[derive(Clone, Debug)]
pub struct RequestContext(Arc<Known>);

#[derive(Debug)]
struct Known {
    id: RequestId,
    merchant: OnceLock<MerchantId>,
    access_key: OnceLock<AccessKeyId>,
}

impl RequestContext {
    pub(crate) fn new(id: RequestId) -> Self {
        Self(Arc::new(Known { id, merchant: OnceLock::new(), access_key: OnceLock::new() }))
    }

    /// The request's id.
    #[must_use]
    pub fn id(&self) -> &RequestId {
        &self.0.id
    }

    /// The merchant that makes the request, once authenticated.
    #[must_use]
    pub fn merchant(&self) -> Option<MerchantId> {
        self.0.merchant.get().copied()
    }

    /// The access key with which the house makes the request, once authenticated.
    #[must_use]
    pub fn access_key(&self) -> Option<AccessKeyId> {
        self.0.access_key.get().copied()
    }

    /// Remembers who makes the request, for the log.
    pub(crate) fn identify_merchant(&self, merchant: MerchantId) {
        let _ = self.0.merchant.set(merchant);
    }

    /// Remembers with which key the house makes the request, for the log.
    pub(crate) fn identify_access_key(&self, key: AccessKeyId) {
        let _ = self.0.access_key.set(key);
    }
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    /// Set by the edge; outside of it (a handler called alone) the request gets an id here.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(parts))
    }
}

impl RequestContext {
    pub(crate) fn of(parts: &Parts) -> Self {
        let known = parts.extensions.get::<Self>().cloned();
        known.unwrap_or_else(|| Self::new(RequestId::of(&parts.headers)))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::{REQUEST_ID_HEADER, RequestId};

    fn id_for(value: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(&REQUEST_ID_HEADER, HeaderValue::from_bytes(value).unwrap());
        RequestId::of(&headers).as_str().to_owned()
    }

    #[test]
    fn a_safe_id_is_kept_and_any_other_replaced() {
        assert_eq!(id_for(b"shop-1/ab:7"), "shop-1/ab:7");
        for bad in [b"".as_slice(), b"a b", b"\"x\"", b"<x>", "ü".as_bytes(), &[b'x'; 129]] {
            let id = id_for(bad);
            assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 7, "{id}");
        }
    }
}
