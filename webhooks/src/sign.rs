//! Signatures after the Standard Webhooks specification, and the plain one inside the body.
//!
//! The header's signature covers the id, the moment of the attempt and the raw body, so a receiver can refuse what is
//! old. The body's own covers the facts a receiver acts on, for those who keep bodies and not headers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use rand::TryRngCore;
use rand::rngs::OsRng;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;

/// Header with the message's id: the same for every attempt.
pub const HEADER_ID: &str = "webhook-id";
/// Header with the moment of the attempt, in seconds since 1970.
pub const HEADER_TIMESTAMP: &str = "webhook-timestamp";
/// Header with the signature, `v1,<base64>`.
pub const HEADER_SIGNATURE: &str = "webhook-signature";

const PREFIX: &str = "whsec_";
/// The specification asks for 24 to 64 bytes.
const GENERATED_BYTES: usize = 32;

/// The bytes that sign a merchant's webhooks.
#[derive(Debug)]
pub struct SigningSecret(SecretSlice<u8>);

/// Why a text is no signing secret. Never shows the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It does not begin with `whsec_`.
    #[error("a webhook secret begins with {PREFIX:?}")]
    Prefix,
    /// What follows is not base64.
    #[error("a webhook secret is base64 after {PREFIX:?}")]
    Encoding,
    /// It has no bytes.
    #[error("a webhook secret must not be empty")]
    Empty,
}

impl SigningSecret {
    /// Reads `whsec_<base64>`.
    ///
    /// # Errors
    /// When the text is something else.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SecretError::Prefix)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| SecretError::Encoding)?;
        if bytes.is_empty() { Err(SecretError::Empty) } else { Ok(Self(bytes.into())) }
    }

    /// The value of [`HEADER_SIGNATURE`]: over `<id>.<timestamp>.<body>`.
    #[must_use]
    pub fn sign_message(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mac = self.mac(&[id.as_bytes(), b".", timestamp.to_string().as_bytes(), b".", body]);
        format!("v1,{}", STANDARD.encode(mac))
    }

    /// Lower-case hex of the HMAC over the fields joined by points.
    #[must_use]
    pub fn sign_fields(&self, fields: &[&str]) -> String {
        hex::encode(self.mac(&[fields.join(".").as_bytes()]))
    }

    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// A new secret, `whsec_` and the base64 of 32 random bytes of the operating system.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn generate_secret() -> Result<SecretString, rand::rand_core::OsError> {
    let mut bytes = [0u8; GENERATED_BYTES];
    OsRng.try_fill_bytes(&mut bytes)?;
    Ok(format!("{PREFIX}{}", STANDARD.encode(bytes)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector that the specification's own packages are tested with.
    #[test]
    fn signs_the_published_vector() {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.sign_message("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn agrees_with_the_independent_package() {
        let text = generate_secret().unwrap();
        let ours = SigningSecret::parse(text.expose_secret()).unwrap();
        let theirs = standardwebhooks::Webhook::new(text.expose_secret()).unwrap();
        let body = "{\"order_id\":\"№ 7\"}".as_bytes();
        assert_eq!(ours.sign_message("msg_1", 1, body), theirs.sign("msg_1", 1, body).unwrap());
    }

    #[test]
    fn generated_secrets_differ_and_hold_32_bytes() {
        let (one, other) = (generate_secret().unwrap(), generate_secret().unwrap());
        assert_ne!(one.expose_secret(), other.expose_secret());
        let secret = SigningSecret::parse(one.expose_secret()).unwrap();
        assert_eq!(secret.0.expose_secret().len(), GENERATED_BYTES);
    }

    #[test]
    fn refuses_what_is_no_secret_and_never_shows_it() {
        for (text, error) in [
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SecretError::Prefix),
            ("whsec_not base64!", SecretError::Encoding),
            ("whsec_", SecretError::Empty),
        ] {
            assert_eq!(SigningSecret::parse(text).unwrap_err(), error);
        }
        let secret = SigningSecret::parse("whsec_c2VjcmV0").unwrap();
        assert!(!format!("{secret:?}").contains("115"), "{secret:?}");
    }
}
