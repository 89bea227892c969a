//! What has happened to an access key. These shapes are kept for ever: a change is a new version and an upcaster.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use super::state::AccessRole;
use crate::Timestamp;
use crate::ids::AccessKeyId;

/// An event of one access key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessKeyEvent {
    /// It was issued.
    AccessKeyIssued(AccessKeyIssued),
    /// It became useless.
    AccessKeyRevoked(AccessKeyRevoked),
}

/// See [`AccessKeyEvent::AccessKeyIssued`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKeyIssued {
    /// Which key.
    pub key_id: AccessKeyId,
    /// What it may read.
    pub role: AccessRole,
    /// What it is for.
    pub label: String,
    /// The first characters of the key, to recognize it by.
    pub prefix: String,
    /// When.
    pub at: Timestamp,
}

/// See [`AccessKeyEvent::AccessKeyRevoked`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKeyRevoked {
    /// Which key.
    pub key_id: AccessKeyId,
    /// When.
    pub at: Timestamp,
}

impl AccessKeyEvent {
    /// The event's name in storage and subjects.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AccessKeyIssued(_) => "AccessKeyIssued",
            Self::AccessKeyRevoked(_) => "AccessKeyRevoked",
        }
    }

    /// When it happened.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::AccessKeyIssued(event) => event.at,
            Self::AccessKeyRevoked(event) => event.at,
        }
    }
}

impl DomainEvent for AccessKeyEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}
