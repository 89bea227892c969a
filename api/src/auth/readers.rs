//! The arguments of handlers that show the books: to the house all of them, to a merchant its own.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use wopay_domain::MerchantId;
use wopay_domain::access::AccessRole;

use super::cache::Holder;
use super::caller::{authenticate, forbidden};
use crate::problem::Problem;
use crate::state::AppState;

/// Who may read books: a merchant its own, the house (finance or auditor) those of every merchant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A merchant: what it sees is its own.
    Merchant(MerchantId),
    /// The house.
    House,
}

impl FromRequestParts<AppState> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        match authenticate(parts, state).await?.0 {
            Holder::Merchant { merchant, .. } => Ok(Self::Merchant(merchant)),
            Holder::Access { role: AccessRole::Finance | AccessRole::Auditor, .. } => Ok(Self::House),
        }
    }
}

/// The house: finance or auditor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HouseKey;

impl FromRequestParts<AppState> for HouseKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        match authenticate(parts, state).await?.0 {
            Holder::Access { role: AccessRole::Finance | AccessRole::Auditor, .. } => Ok(Self),
            Holder::Merchant { .. } => Err(forbidden("This is for access keys of the house; the key is a merchant's.")),
        }
    }
}

/// Who may ask for proofs: a merchant for its own events, an auditor for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofReader {
    /// A merchant: of its own events.
    Merchant(MerchantId),
    /// An auditor: of every event.
    Auditor,
}

impl FromRequestParts<AppState> for ProofReader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        match authenticate(parts, state).await?.0 {
            Holder::Merchant { merchant, .. } => Ok(Self::Merchant(merchant)),
            Holder::Access { role: AccessRole::Auditor, .. } => Ok(Self::Auditor),
            Holder::Access { role: AccessRole::Finance, .. } => Err(for_auditors()),
        }
    }
}

/// An auditor of the house.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditorKey;

impl FromRequestParts<AppState> for AuditorKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        match authenticate(parts, state).await?.0 {
            Holder::Access { role: AccessRole::Auditor, .. } => Ok(Self),
            Holder::Access { role: AccessRole::Finance, .. } | Holder::Merchant { .. } => Err(for_auditors()),
        }
    }
}

fn for_auditors() -> Problem {
    forbidden("This is for access keys of auditors.")
}
