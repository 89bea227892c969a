//! The kinds of problems: one exhaustive table of code, status, title and advice.

use axum::http::StatusCode;

/// A kind of problem. The text of [`as_str`](Self::as_str) is part of the API and never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemCode {
    /// The body is not JSON.
    MalformedJson,
    /// The body is not UTF-8.
    InvalidUtf8,
    /// Query parameters that are unknown, doubled or not valid.
    InvalidQuery,
    /// A header that is not valid.
    InvalidHeader,
    /// The request cannot be read for another reason.
    BadRequest,
    /// No key, or one that is not known.
    Unauthorized,
    /// The merchant is suspended.
    MerchantSuspended,
    /// The key is good, but not for this.
    Forbidden,
    /// Nothing here, or nothing of the caller's.
    NotFound,
    /// Not with this method.
    MethodNotAllowed,
    /// The order exists with other terms.
    OrderConflict,
    /// The payment has come too far to be cancelled.
    PaymentNotCancellable,
    /// The payment is in a state that the command contradicts.
    PaymentStateConflict,
    /// The chain takes no new payments at the moment.
    ChainPaused,
    /// There are no new payments in the currency at the moment.
    CurrencyPaused,
    /// The read side has not come to that position.
    PositionNotReached,
    /// More than 64 KiB.
    BodyTooLarge,
    /// Not `application/json`.
    UnsupportedMediaType,
    /// Fields of the body that are missing, unknown or not valid.
    InvalidFields,
    /// The idempotency key was used with another body.
    IdempotencyKeyReused,
    /// Our fault.
    Internal,
    /// What is stored is not what was sealed.
    LogDamaged,
    /// Too much to do at this moment.
    Overloaded,
    /// No deposit address is ready.
    AddressPoolEmpty,
    /// It took too long.
    Timeout,
    /// The process misses something that it needs.
    NotReady,
}

impl ProblemCode {
    /// Every kind.
    pub const ALL: [Self; 26] = [
        Self::MalformedJson,
        Self::InvalidUtf8,
        Self::InvalidQuery,
        Self::InvalidHeader,
        Self::BadRequest,
        Self::Unauthorized,
        Self::MerchantSuspended,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::OrderConflict,
        Self::PaymentNotCancellable,
        Self::PaymentStateConflict,
        Self::ChainPaused,
        Self::CurrencyPaused,
        Self::PositionNotReached,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidFields,
        Self::IdempotencyKeyReused,
        Self::Internal,
        Self::LogDamaged,
        Self::Overloaded,
        Self::AddressPoolEmpty,
        Self::Timeout,
        Self::NotReady,
    ];

    /// The `code` of the problem.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// Its HTTP status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.row().1
    }

    /// Its `title`.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.row().2
    }

    /// What the caller can do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        self.row().3
    }

    /// Its `type`: `/problems/<code>`, which the API serves.
    #[must_use]
    pub fn type_uri(self) -> String {
        format!("/problems/{}", self.as_str())
    }

    /// The kind of this code.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == code)
    }

    /// The kind that says no more than a status does; for answers that something other than a handler made.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthorized,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE => Self::BodyTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::SERVICE_UNAVAILABLE => Self::Overloaded,
            status if status.is_client_error() => Self::BadRequest,
            _ => Self::Internal,
        }
    }

    const fn row(self) -> (&'static str, StatusCode, &'static str, &'static str) {
        match self {
            Self::MalformedJson => (
                "malformed_json",
                StatusCode::BAD_REQUEST,
                "The body is not JSON",
                "Send one JSON object. The detail names the line and column where reading stopped.",
            ),
            Self::InvalidUtf8 => (
                "invalid_utf8",
                StatusCode::BAD_REQUEST,
                "The body is not UTF-8",
                "Encode the body as UTF-8. The detail names the first byte that is not.",
            ),
            Self::InvalidQuery => (
                "invalid_query",
                StatusCode::BAD_REQUEST,
                "Some query parameters are not valid",
                "Correct the parameters named in errors.",
            ),
            Self::InvalidHeader => (
                "invalid_header",
                StatusCode::BAD_REQUEST,
                "A header is not valid",
                "Correct the header named in errors.",
            ),
            Self::BadRequest => (
                "bad_request",
                StatusCode::BAD_REQUEST,
                "The request cannot be read",
                "Correct the request as the detail says.",
            ),
            Self::Unauthorized => (
                "unauthorized",
                StatusCode::UNAUTHORIZED,
                "No valid API key",
                "Send `Authorization: Bearer <API key>` with a key that has not been revoked.",
            ),
            Self::MerchantSuspended => (
                "merchant_suspended",
                StatusCode::FORBIDDEN,
                "The merchant is suspended",
                "Ask the operator of this installation. Money that arrives is still recorded.",
            ),
            Self::Forbidden => (
                "forbidden",
                StatusCode::FORBIDDEN,
                "Not with this key",
                "Use a key of the kind that the detail names; an operator issues one.",
            ),
            Self::NotFound => (
                "not_found",
                StatusCode::NOT_FOUND,
                "There is nothing here",
                "Check the path and the id. What belongs to another merchant is not found either.",
            ),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "Not with this method",
                "Use one of the methods in the header Allow.",
            ),
            Self::OrderConflict => (
                "order_conflict",
                StatusCode::CONFLICT,
                "The order exists with other terms",
                "Use the payment that exists, or another order_id. Errors names the fields that differ.",
            ),
            Self::PaymentNotCancellable => (
                "payment_not_cancellable",
                StatusCode::CONFLICT,
                "The payment cannot be cancelled",
                "Only a payment that is pending, without any money, can be cancelled.",
            ),
            Self::PaymentStateConflict => (
                "payment_state_conflict",
                StatusCode::CONFLICT,
                "The payment is in another state",
                "Read the payment and decide again.",
            ),
            Self::ChainPaused => (
                "chain_paused",
                StatusCode::CONFLICT,
                "The chain takes no new payments at the moment",
                "Offer another blockchain, or try again later. Payments that exist go on.",
            ),
            Self::CurrencyPaused => (
                "currency_paused",
                StatusCode::CONFLICT,
                "There are no new payments in the currency at the moment",
                "Offer another currency, or try again later. Payments that exist go on.",
            ),
            Self::PositionNotReached => (
                "position_not_reached",
                StatusCode::CONFLICT,
                "The position is not there yet",
                "Ask again after the seconds in the header Retry-After, or for an earlier position.",
            ),
            Self::BodyTooLarge => {
                ("body_too_large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large", "Send at most 64 KiB.")
            }
            Self::UnsupportedMediaType => (
                "unsupported_media_type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body is not application/json",
                "Send `Content-Type: application/json`.",
            ),
            Self::InvalidFields => (
                "invalid_fields",
                StatusCode::UNPROCESSABLE_ENTITY,
                "Some fields are not valid",
                "Correct the fields named in errors.",
            ),
            Self::IdempotencyKeyReused => (
                "idempotency_key_reused",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The idempotency key was used with another body",
                "Use a new key for a new request, and the old body with the old key.",
            ),
            Self::Internal => (
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something went wrong here",
                "Try again; if it stays, give the request_id to the operator of this installation.",
            ),
            Self::LogDamaged => (
                "log_damaged",
                StatusCode::INTERNAL_SERVER_ERROR,
                "The audit log is damaged",
                "Keep your own copies of checkpoints, and have the operator run `wopay audit verify`.",
            ),
            Self::Overloaded => (
                "overloaded",
                StatusCode::SERVICE_UNAVAILABLE,
                "Too much to do",
                "Try again after the seconds in the header Retry-After. Nothing was done.",
            ),
            Self::AddressPoolEmpty => (
                "address_pool_empty",
                StatusCode::SERVICE_UNAVAILABLE,
                "No deposit address is ready",
                "Try again after the seconds in the header Retry-After. Nothing was done.",
            ),
            Self::Timeout => (
                "timeout",
                StatusCode::SERVICE_UNAVAILABLE,
                "It took too long",
                "Repeat the same request: whatever it did is not done twice.",
            ),
            Self::NotReady => (
                "not_ready",
                StatusCode::SERVICE_UNAVAILABLE,
                "Something that is needed is not there",
                "Errors names what is missing; the process goes on trying.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::ProblemCode;

    #[test]
    fn codes_are_distinct_and_parse_back() {
        let codes: HashSet<_> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), ProblemCode::ALL.len());
        for code in ProblemCode::ALL {
            assert_eq!(ProblemCode::parse(code.as_str()), Some(code));
            assert!(code.status().is_client_error() || code.status().is_server_error());
        }
    }
}
