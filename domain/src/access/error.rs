//! Why an access key refuses a command.

use super::decide::LABEL_CHARS_MAX;

/// Why an access key refuses a command. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessKeyError {
    /// It was never issued.
    #[error("the access key does not exist")]
    NotFound,
    /// An id was used twice.
    #[error("the access key is issued already")]
    AlreadyIssued,
    /// The label says nothing, too much, or holds control characters.
    #[error("a label has 1 to {LABEL_CHARS_MAX} printable characters")]
    Label,
}
