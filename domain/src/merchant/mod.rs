//! A merchant: who may create payments, with which keys, and where to announce what happens to them.
//!
//! No name, e-mail, key or secret is ever part of an event: those live in the encrypted side table and are referred to
//! by [`SecretRef`](crate::ids::SecretRef). The hash of an API key and the digest of an e-mail are claims of the store.

mod aggregate;
mod command;
mod decide;
mod error;
mod event;
mod evolve;
mod state;
#[cfg(test)]
mod tests;

pub use command::{MerchantCommand, RegisterMerchant};
pub use decide::decide;
pub use error::MerchantError;
pub use event::{
    ApiKeyIssued, ApiKeyRevoked, MerchantEvent, MerchantForgotten, MerchantRegistered, MerchantReinstated,
    MerchantSuspended, WebhookConfigured,
};
pub use evolve::evolve;
pub use state::{ApiKey, Merchant, MerchantPolicy, MerchantState, WebhookSettings};

/// `aggregate_type` of merchants.
pub const AGGREGATE_TYPE: &str = "merchant";
