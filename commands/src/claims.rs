//! Claims: the unique constraints of an event-sourced system. A claim is a key that only one aggregate may hold, taken in
//! the same append as the events that need it and never given back.

use std::fmt;

use serde::{Deserialize, Serialize};
use wopay_domain::access::AccessRole;
use wopay_domain::payment::CreatePayment;
use wopay_domain::{AccessKeyId, ApiKeyId, ChainFamily, ChainName, MerchantId};

/// The longest key, in bytes. A key is part of an index entry, which Postgres limits to 2,704 bytes.
pub(crate) const KEY_BYTES_MAX: usize = 1024;

/// What a claim is about. The names are part of the ledger and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClaimKind {
    /// `order`, key `<merchant id>/<order id>`: one payment per order of a merchant.
    Order,
    /// `deposit:<family>`, key address: what arrives there belongs to one payment, on every chain of the family.
    Deposit(ChainFamily),
    /// `idempotency`, key `<merchant id>/<Idempotency-Key>`.
    Idempotency,
    /// `api-key`, key SHA-256 of the API key in hex; of merchants and of the house alike, so that no key is both.
    ApiKey,
    /// `merchant-email`, key a keyed digest of the lower-cased address.
    MerchantEmail,
}

impl ClaimKind {
    /// The name in the table `claims`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Deposit(ChainFamily::Evm) => "deposit:evm",
            Self::Deposit(ChainFamily::Solana) => "deposit:solana",
            Self::Idempotency => "idempotency",
            Self::ApiKey => "api-key",
            Self::MerchantEmail => "merchant-email",
        }
    }
}

impl fmt::Display for ClaimKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key that the aggregate wants for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    kind: ClaimKind,
    key: String,
    /// JSON text.
    detail: Option<String>,
}

impl Claim {
    /// The order id of a merchant's payment.
    #[must_use]
    pub fn order(merchant: MerchantId, order_id: &str) -> Self {
        Self { kind: ClaimKind::Order, key: format!("{merchant}/{order_id}"), detail: None }
    }

    /// The address that a payment waits at; watchers find it by this claim and its detail.
    #[must_use]
    pub fn deposit(family: ChainFamily, address: &str, chain: &ChainName, required_confirmations: u32) -> Self {
        let detail = DepositDetail { required_confirmations, chain };
        Self::with_detail(ClaimKind::Deposit(family), address.to_owned(), &detail)
    }

    /// A merchant's `Idempotency-Key` with the hash of the request that came with it.
    #[must_use]
    pub fn idempotency(merchant: MerchantId, idempotency: &IdempotencyClaim) -> Self {
        let detail = IdempotencyDetail { request_hash: idempotency.request_hash.clone() };
        Self::with_detail(ClaimKind::Idempotency, format!("{merchant}/{}", idempotency.key), &detail)
    }

    /// An API key by the SHA-256 of its text, in hex.
    #[must_use]
    pub fn api_key(sha256_hex: &str, key_id: ApiKeyId) -> Self {
        Self::with_detail(ClaimKind::ApiKey, sha256_hex.to_owned(), &ApiKeyDetail { key_id })
    }

    /// An access key of the house by the SHA-256 of its text, in hex. The aggregate is the key itself.
    #[must_use]
    pub fn access_key(sha256_hex: &str, key_id: AccessKeyId, role: AccessRole) -> Self {
        Self::with_detail(ClaimKind::ApiKey, sha256_hex.to_owned(), &AccessKeyDetail { key_id, role })
    }

    /// A merchant's e-mail address by its keyed digest, in hex.
    #[must_use]
    pub fn merchant_email(digest_hex: &str) -> Self {
        Self { kind: ClaimKind::MerchantEmail, key: digest_hex.to_owned(), detail: None }
    }

    /// What it is about.
    #[must_use]
    pub const fn kind(&self) -> ClaimKind {
        self.kind
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is kept beside the key, as JSON text.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// The claims of a new payment. Idempotency comes first: of several taken claims the first is reported, and a
    /// repeated request must be recognized before its order id is found taken.
    pub(crate) fn of_payment(
        create: &CreatePayment,
        idempotency: Option<&IdempotencyClaim>,
    ) -> Result<Vec<Self>, AddressFormError> {
        let terms = &create.terms;
        let family = family_of_address(&terms.address)?;
        let deposit = Self::deposit(family, &terms.address, &terms.chain, terms.policy.required_confirmations);
        let mut claims = Vec::with_capacity(3);
        claims.extend(idempotency.map(|claim| Self::idempotency(create.merchant_id, claim)));
        claims.push(Self::order(create.merchant_id, &create.order_id));
        claims.push(deposit);
        Ok(claims)
    }

    fn with_detail(kind: ClaimKind, key: String, detail: &impl Serialize) -> Self {
        let detail = serde_json::to_string(detail).expect("a struct of texts and numbers is always JSON");
        Self { kind, key, detail: Some(detail) }
    }
}

/// A merchant's `Idempotency-Key` and what it was used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyClaim {
    /// The header's value.
    pub key: String,
    /// SHA-256 of the request, in hex.
    pub request_hash: String,
}

/// A claim that another aggregate, or an earlier command, holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenClaim {
    /// What was wanted.
    pub claim: Claim,
    /// The aggregate that has it.
    pub holder: String,
    /// What the holder left beside it, as JSON text.
    pub detail: Option<String>,
}

impl fmt::Display for TakenClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} is held by {}", self.claim.kind, self.claim.key, self.holder)
    }
}

#[derive(Serialize)]
struct DepositDetail<'a> {
    required_confirmations: u32,
    chain: &'a ChainName,
}

/// Beside an `idempotency` claim.
#[derive(Serialize, Deserialize)]
pub(crate) struct IdempotencyDetail {
    pub(crate) request_hash: String,
}

/// Beside an `api-key` claim of a merchant.
#[derive(Serialize, Deserialize)]
pub(crate) struct ApiKeyDetail {
    pub(crate) key_id: ApiKeyId,
}

/// Beside an `api-key` claim of the house.
#[derive(Serialize, Deserialize)]
pub(crate) struct AccessKeyDetail {
    pub(crate) key_id: AccessKeyId,
    pub(crate) role: AccessRole,
}

/// Beside any `api-key` claim: only that of the house has a role.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum KeyDetail {
    Access(AccessKeyDetail),
    Merchant(ApiKeyDetail),
}

/// A text that is no family's address in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address is 0x and 40 lower-case hex digits, or 32 to 44 characters of base58, got {0:?}")]
pub struct AddressFormError(String);

/// The family whose address this is, by its form. The forms exclude each other (base58 has no `0`), and only the
/// canonical text is taken: the claim is a text, so another spelling of an address would be another claim.
///
/// # Errors
/// When the text is neither form.
pub fn family_of_address(address: &str) -> Result<ChainFamily, AddressFormError> {
    let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let base58 = |byte: u8| byte.is_ascii_alphanumeric() && !matches!(byte, b'0' | b'O' | b'I' | b'l');
    match address.strip_prefix("0x") {
        Some(digits) if digits.len() == 40 && digits.bytes().all(lower_hex) => Ok(ChainFamily::Evm),
        None if (32..=44).contains(&address.len()) && address.bytes().all(base58) => Ok(ChainFamily::Solana),
        _ => Err(AddressFormError(address.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_an_address_names_its_family() {
        let evm = "0x55d398326f99059ff775485246999027b3197955";
        assert_eq!(family_of_address(evm), Ok(ChainFamily::Evm));
        let solana = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v";
        assert_eq!(family_of_address(solana), Ok(ChainFamily::Solana));
    }

    #[test]
    fn another_spelling_is_no_address() {
        for text in [
            "",
            "0x55D398326F99059FF775485246999027B3197955",
            "0x55d398326f99059ff775485246999027b319795",
            "55d398326f99059ff775485246999027b3197955",
            "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v!",
        ] {
            assert!(family_of_address(text).is_err(), "{text}");
        }
    }
}
