//! The state that an access key's events fold into.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::ids::AccessKeyId;

/// An access key, issued or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey(pub(super) Option<AccessKeyState>);

impl AccessKey {
    /// The state, `None` before it is issued.
    #[must_use]
    pub fn state(&self) -> Option<&AccessKeyState> {
        self.0.as_ref()
    }
}

/// An issued access key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKeyState {
    /// Its id.
    pub id: AccessKeyId,
    /// What it may read.
    pub role: AccessRole,
    /// What it is for.
    pub label: String,
    /// The first characters of the key.
    pub prefix: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it became useless.
    pub revoked_at: Option<Timestamp>,
}

impl AccessKeyState {
    /// Whether requests with it are served.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.revoked_at.is_none()
    }
}

/// What an access key may read. The names are part of the ledger and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessRole {
    /// The books of every merchant: accounts, entries, statements, reports, the event log.
    Finance,
    /// What finance may read, and the entries and proofs of the audit log.
    Auditor,
}

impl AccessRole {
    /// Every role.
    pub const ALL: [Self; 2] = [Self::Finance, Self::Auditor];

    /// `finance` or `auditor`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finance => "finance",
            Self::Auditor => "auditor",
        }
    }
}

impl fmt::Display for AccessRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AccessRole {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// A text that names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is `finance` or `auditor`")]
pub struct UnknownRole;
