//! What can be asked of an access key. Commands carry ids and the time.

use super::state::AccessRole;
use crate::Timestamp;
use crate::ids::AccessKeyId;

/// A command to one access key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessKeyCommand {
    /// Begin it; its hash is a claim in the same append.
    Issue(IssueAccessKey),
    /// Make it useless, for ever.
    Revoke {
        /// Now.
        at: Timestamp,
    },
}

/// Begins an access key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssueAccessKey {
    /// The new key's id.
    pub key_id: AccessKeyId,
    /// What it may read.
    pub role: AccessRole,
    /// What it is for: 1 to 64 characters, none of them a control character.
    pub label: String,
    /// The first characters of the key, to recognize it by.
    pub prefix: String,
    /// Now.
    pub at: Timestamp,
}
