//! Who calls: API keys, looked up by their SHA-256 and kept in a cache that a revocation empties at once.
//!
//! The type of a handler's argument says who may call it: with a [`MerchantKey`] only a merchant that is not suspended,
//! through a key that is not revoked. A key itself is never logged, compared or kept: only its hash is.

mod cache;
mod merchant_key;

pub use cache::AuthCache;
pub use merchant_key::MerchantKey;
