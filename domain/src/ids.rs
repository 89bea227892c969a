//! A type per kind of id, so that a merchant's id can never be passed where a payment's is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::chain::DepositKey;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that is already known to be of this kind.
            #[must_use]
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The bare UUID, for SQL parameters.
            #[must_use]
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// A payment (UUID v7).
    PaymentId
);
uuid_id!(
    /// A refund of a payment (UUID v7).
    RefundId
);
uuid_id!(
    /// A merchant (UUID v7).
    MerchantId
);
uuid_id!(
    /// An API key of a merchant; names the key without revealing it (UUID v7).
    ApiKeyId
);
uuid_id!(
    /// An access key of the house; names the key without revealing it (UUID v7).
    AccessKeyId
);
uuid_id!(
    /// Refers to a sealed value in the encrypted side table: a webhook secret, a profile. Events carry the reference,
    /// never the value.
    SecretRef
);
uuid_id!(
    /// A deposit: the head of a digest of its key, so one deposit has one id, whoever computes it.
    DepositId
);

impl DepositId {
    /// The id of the deposit with this key: the first 16 bytes of the key's SHA-256.
    #[must_use]
    pub fn of(key: &DepositKey) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&Sha256::digest(key.to_string().as_bytes())[..16]);
        Self(Uuid::from_bytes(bytes))
    }
}
