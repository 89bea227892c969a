//! Why a payment refuses a command.

use super::state::PaymentStatus;
use crate::Timestamp;
use crate::money::MoneyError;

/// Why a payment refuses a command. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// It was never opened.
    #[error("the payment does not exist")]
    NotFound,
    /// It was opened before.
    #[error("the payment exists already")]
    AlreadyExists,
    /// The terms contradict themselves.
    #[error("invalid terms: {0}")]
    InvalidTerms(&'static str),
    /// Only a payment without money can be cancelled.
    #[error("a payment that is {} cannot be cancelled", status.as_str())]
    NotCancellable {
        /// What it is instead.
        status: PaymentStatus,
    },
    /// The deadline lies ahead.
    #[error("the payment expires at {expires_at}, not before")]
    NotYetDue {
        /// The deadline.
        expires_at: Timestamp,
    },
    /// Amounts that cannot be added.
    #[error("amounts cannot be added")]
    Money(#[from] MoneyError),
}
