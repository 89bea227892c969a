//! Who calls: keys, looked up by their SHA-256 and kept in a cache that a revocation empties at once.
//!
//! The type of a handler's argument says who may call it: with a [`MerchantKey`] only a merchant that is not suspended,
//! through a key that is not revoked; with a [`Reader`], [`HouseKey`], [`ProofReader`] or [`AuditorKey`] also or only an
//! access key of the house, by its role. A key of another kind is answered 403. A key itself is never logged, compared or
//! kept: only its hash is.

mod cache;
mod caller;
mod merchant_key;
mod readers;

pub use cache::AuthCache;
pub use merchant_key::MerchantKey;
pub use readers::{AuditorKey, HouseKey, ProofReader, Reader};
