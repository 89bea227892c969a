//! What commands of the operator share: who is named as the cause of events, and how keys are made.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore as _;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use wopay_domain::{Actor, Metadata};

/// The first characters of a key that may be shown.
const PREFIX_CHARACTERS: usize = 11;

/// The cause of events that a command of the operator makes.
pub(super) fn metadata() -> Metadata {
    Metadata { actor: Actor::Operator, request_id: None, command_id: Some(Uuid::now_v7().to_string()) }
}

/// 256 random bits, URL-safe.
///
/// # Errors
/// When the system has no randomness.
pub(super) fn random_text() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).context("the system has no randomness")?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The first characters of a key, to recognize it by.
pub(super) fn key_prefix(key: &str) -> String {
    key.chars().take(PREFIX_CHARACTERS).collect()
}

/// What the ledger keeps of a key: the SHA-256 of its text, in hex.
pub(super) fn key_hash(key: &str) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}
