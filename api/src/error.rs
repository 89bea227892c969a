//! Which error of the domain and of the write side becomes which problem: here and nowhere else.
//!
//! Every match is exhaustive: a new error does not compile until somebody has decided what a caller is told. What a
//! caller cannot do anything about is logged with its whole chain of causes and answered without them.

use std::error::Error;
use std::fmt::Write;

use wopay_audit::AuditError;
use wopay_commands::{AppendError, ExecuteError, LeaseError, LoadError};
use wopay_domain::money::MoneyError;
use wopay_domain::payment::PaymentError;
use wopay_projections::QueryError;

use crate::extract::CURSOR_EXPECTED;
use crate::problem::{FieldError, Problem, ProblemCode};

const RETRY_SOON_SECONDS: u16 = 1;
const RETRY_LATER_SECONDS: u16 = 5;

impl From<PaymentError> for Problem {
    fn from(error: PaymentError) -> Self {
        match error {
            PaymentError::NotFound => Self::new(ProblemCode::NotFound, "There is no such payment."),
            PaymentError::NotCancellable { .. } => Self::new(ProblemCode::PaymentNotCancellable, sentence(&error)),
            PaymentError::InvalidTerms(why) => {
                let errors = vec![FieldError::new("body", "invalid_terms", why)];
                Self::fields(ProblemCode::InvalidFields, "The terms contradict themselves.", errors)
            }
            PaymentError::InvalidRefund(why) => {
                let errors = vec![FieldError::new("body", "invalid_refund", why)];
                Self::fields(ProblemCode::InvalidFields, "The refund contradicts the payment or itself.", errors)
            }
            PaymentError::RefundNotFound(_) => Self::new(ProblemCode::NotFound, "There is no such refund."),
            PaymentError::InvalidDecision(why) => {
                let errors = vec![FieldError::new("body", "invalid_decision", why)];
                Self::fields(ProblemCode::InvalidFields, "The decision contradicts the payment or itself.", errors)
            }
            PaymentError::DepositNotFound(_) => Self::new(ProblemCode::NotFound, "There is no such deposit."),
            PaymentError::DepositNotConfirmed { .. }
            | PaymentError::DepositNotHeld
            | PaymentError::DepositRefunded(_)
            | PaymentError::DepositReassigned(_)
            | PaymentError::OtherMerchant
            | PaymentError::NotYetDue { .. }
            | PaymentError::NotRefundable { .. }
            | PaymentError::RefundTooLarge { .. }
            | PaymentError::RefundExists(_)
            | PaymentError::RefundClosed { .. } => Self::new(ProblemCode::PaymentStateConflict, sentence(&error)),
            // Ids are made here and new each time.
            PaymentError::AlreadyExists => internal(&error),
            PaymentError::Money(error) => error.into(),
        }
    }
}

impl From<MoneyError> for Problem {
    /// Amounts were checked when they came in: what cannot be added later is our fault.
    fn from(error: MoneyError) -> Self {
        match error {
            MoneyError::MixedAssets { .. } | MoneyError::Overflow(_) => internal(&error),
        }
    }
}

impl From<ExecuteError<PaymentError>> for Problem {
    fn from(error: ExecuteError<PaymentError>) -> Self {
        match error {
            ExecuteError::Domain(error) => error.into(),
            ExecuteError::OrderConflict { .. } => {
                Self::new(ProblemCode::OrderConflict, "The order_id belongs to a payment with other terms.")
            }
            ExecuteError::IdempotencyMismatch { .. } => {
                let errors = vec![FieldError::new("Idempotency-Key", "reused", "came with another body before")];
                let detail = "The idempotency key came with another body before.";
                Self::fields(ProblemCode::IdempotencyKeyReused, detail, errors)
            }
            ExecuteError::Contended { .. } => overloaded(),
            ExecuteError::Append(error) => error.into(),
            ExecuteError::Load(error) => error.into(),
            ExecuteError::AddressTaken { .. } | ExecuteError::Address(_) | ExecuteError::ClaimTaken(_) => {
                internal(&error)
            }
        }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict { .. } | AppendError::Overloaded | AppendError::ShuttingDown => overloaded(),
            AppendError::Unavailable(_) => {
                warn(&error);
                overloaded()
            }
            AppendError::OutcomeUnknown(_) => {
                warn(&error);
                let detail = "It is not known whether the request took effect. Repeating it is safe.";
                Self::retry_after(ProblemCode::Timeout, detail, RETRY_SOON_SECONDS)
            }
            AppendError::ClaimTaken(_) | AppendError::Invalid(_) | AppendError::Rejected(_) => internal(&error),
        }
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Database(_) => {
                warn(&error);
                overloaded()
            }
            LoadError::Corrupt(_) => internal(&error),
        }
    }
}

impl From<LeaseError> for Problem {
    fn from(error: LeaseError) -> Self {
        match &error {
            LeaseError::PoolEmpty(family) => {
                tracing::error!(family = family.as_str(), "the address pool is empty: is the signer running?");
                let detail = "No deposit address is ready. Nothing was done.";
                Self::retry_after(ProblemCode::AddressPoolEmpty, detail, RETRY_LATER_SECONDS)
            }
            LeaseError::Database(error) => query_failed(error),
        }
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match &error {
            QueryError::NotReached { .. } => {
                Self::retry_after(ProblemCode::PositionNotReached, sentence(&error), RETRY_SOON_SECONDS)
            }
            QueryError::MixedAxes => {
                let errors = vec![FieldError::new("effective_at", "invalid", "must not come with axis=recorded")];
                Self::fields(ProblemCode::InvalidQuery, "Some query parameters are not valid.", errors)
            }
            // A parameter is one or the other.
            QueryError::TwoPoints => internal(&error),
            QueryError::Database(error) if is_out_of_time(error) => no_such_cursor(),
            QueryError::Database(error) => query_failed(error),
        }
    }
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Self {
        match &error {
            AuditError::Database(error) => query_failed(error),
            AuditError::NothingSealed
            | AuditError::NoCheckpoint { .. }
            | AuditError::NotSealed { .. }
            | AuditError::Sizes { .. } => Self::new(ProblemCode::NotFound, sentence(&error)),
            AuditError::EventMissing { .. } | AuditError::Damaged { .. } | AuditError::Checkpoint(_) => {
                tracing::error!(error = chain(&error), "the audit log is damaged");
                Self::new(ProblemCode::LogDamaged, sentence(&error))
            }
            AuditError::EntryTooLarge { .. } => internal(&error),
        }
    }
}

/// Whether a moment was asked for that Postgres does not have. Only a forged cursor can name one.
pub(crate) fn is_out_of_time(error: &sqlx::Error) -> bool {
    /// SQLSTATE `datetime_field_overflow`.
    const OUT_OF_RANGE: &str = "22008";
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some(OUT_OF_RANGE)
}

/// The answer to a cursor that no list gave out.
pub(crate) fn no_such_cursor() -> Problem {
    let errors = vec![FieldError::new("cursor", "invalid", CURSOR_EXPECTED)];
    Problem::fields(ProblemCode::InvalidQuery, "Some query parameters are not valid.", errors)
}

/// What a failed query of a read model becomes. A database that is away is expected to come back.
pub(crate) fn query_failed(error: &sqlx::Error) -> Problem {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            warn(error);
            overloaded()
        }
        error => internal(error),
    }
}

/// A failure that the caller can do nothing about. The log has its causes, the answer has none.
pub(crate) fn internal(error: &(dyn Error + 'static)) -> Problem {
    tracing::error!(error = chain(error), "a request failed");
    Problem::new(ProblemCode::Internal, "The request could not be served.")
}

fn warn(error: &(dyn Error + 'static)) {
    tracing::warn!(error = chain(error), "a request could not be served now");
}

fn overloaded() -> Problem {
    Problem::retry_after(ProblemCode::Overloaded, "The ledger cannot take the request now.", RETRY_SOON_SECONDS)
}

/// The error and all of its causes on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

/// An error's text as a sentence.
fn sentence(error: &impl Error) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(|char| char.to_ascii_uppercase());
    first.into_iter().chain(chars).chain(['.']).collect()
}
