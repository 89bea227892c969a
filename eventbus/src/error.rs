//! What can go wrong between us and NATS.

/// An error of the NATS client, whatever its kind.
pub(crate) type NatsError = Box<dyn std::error::Error + Send + Sync>;

/// Why NATS did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The ledger's name cannot be part of a subject.
    #[error("a ledger's name is 1 to 48 characters of a-z, A-Z, 0-9, - and _, got {0:?}")]
    LedgerName(String),
    /// A command's kind cannot be part of a subject.
    #[error("a command's kind is `<aggregate>.<command>` of a-z, 0-9, - and _, got {0:?}")]
    CommandKind(String),
    /// The address is not one, or the server refuses us for good.
    #[error("cannot use this NATS address")]
    Address(#[source] NatsError),
    /// There is no connection now; one is being made in the background.
    #[error("not connected to NATS")]
    Disconnected,
    /// The server refused, or did not answer in time.
    #[error("NATS did not {doing}")]
    Request {
        /// What was asked of it.
        doing: &'static str,
        /// The client's error.
        #[source]
        source: NatsError,
    },
}

impl BusError {
    /// Gives a client's error its place: `.map_err(BusError::request("create a stream"))`.
    pub(crate) fn request<E: Into<NatsError>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Request { doing, source: source.into() }
    }
}
