//! What can go wrong between us and an EVM node. No message holds more of an endpoint's URL than host and port.

use ethers::providers::{JsonRpcError, ProviderError, RpcError};

use crate::pool::Failure;

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No HTTP answer.
    #[error("{endpoint} did not answer {method}")]
    Transport {
        endpoint: String,
        method: String,
        #[source]
        source: reqwest::Error,
    },
    /// An HTTP answer that is no success.
    #[error("{endpoint} answered {method} with HTTP {status}")]
    Status { endpoint: String, method: String, status: u16 },
    /// A body that goes on and on.
    #[error("{endpoint} answered {method} with more than {bytes_max} bytes")]
    TooLarge { endpoint: String, method: String, bytes_max: usize },
    /// A body that is not JSON-RPC, for example an HTML page.
    #[error("{endpoint} answered {method} with something that is not JSON-RPC (content type {content_type:?})")]
    NotJsonRpc {
        endpoint: String,
        method: String,
        content_type: String,
        #[source]
        source: serde_json::Error,
    },
    /// JSON-RPC, but the result has another shape than the method promises.
    #[error("{endpoint} answered {method} with an unexpected result")]
    Shape {
        endpoint: String,
        method: String,
        #[source]
        source: serde_json::Error,
    },
    /// An answer to a batch that leaves a call out.
    #[error("{endpoint} left a {method} of a batch unanswered")]
    Unanswered { endpoint: String, method: String },
    /// The node's own error.
    #[error("{endpoint} answered {method} with error {}: {}", source.code, source.message)]
    Node { endpoint: String, method: String, source: JsonRpcError },
}

impl CallError {
    /// Whether the same call may succeed a moment later at the same endpoint.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            // Whoever let us wait for the whole timeout is not asked the same again before the others are.
            Self::Transport { source, .. } => !source.is_timeout() && (source.is_connect() || source.is_request()),
            Self::Status { status, .. } => matches!(status, 429 | 502..=504),
            Self::TooLarge { .. }
            | Self::NotJsonRpc { .. }
            | Self::Shape { .. }
            | Self::Unanswered { .. }
            | Self::Node { .. } => false,
        }
    }
}

impl RpcError for CallError {
    fn as_error_response(&self) -> Option<&JsonRpcError> {
        match self {
            Self::Node { source, .. } => Some(source),
            _ => None,
        }
    }

    fn as_serde_error(&self) -> Option<&serde_json::Error> {
        match self {
            Self::NotJsonRpc { source, .. } | Self::Shape { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<CallError> for ProviderError {
    fn from(error: CallError) -> Self {
        Self::JsonRpcClientError(Box::new(error))
    }
}

/// Why an endpoint gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EvmError {
    /// A call failed.
    #[error(transparent)]
    Call(CallError),
    /// `ethers` failed around a call.
    #[error("the client failed")]
    Client(#[source] ProviderError),
    /// Answers that contradict each other: the node lies, lags, or its chain has just changed.
    #[error("{endpoint} contradicts itself: {what}")]
    Inconsistent { endpoint: String, what: String },
    /// The endpoint belongs to another chain, or a token is not what the configuration says.
    #[error("{endpoint}: {reason}")]
    Wrong { endpoint: String, reason: String },
}

impl EvmError {
    /// Whether a call was executed and failed, as opposed to: was not executed.
    pub(crate) fn is_revert(&self) -> bool {
        self.node_error().is_some_and(|error| error.code == 3 || error.message.contains("revert"))
    }

    /// What the node says when it has forgotten the state of a block, if that is the failure. Every kind of node has words
    /// of its own for it.
    pub(crate) fn pruned(&self) -> Option<&str> {
        const WORDS: [&str; 11] = [
            "missing trie node",
            "state not available",
            "state is not available",
            "state unavailable",
            "historical state",
            "state already discarded",
            "state has been pruned",
            "pruned",
            "pruning",
            "archive",
            "distance to target block exceeds",
        ];
        let said = self.node_error()?.message.as_str();
        let lower = said.to_ascii_lowercase();
        WORDS.iter().any(|words| lower.contains(words)).then_some(said)
    }

    /// Whether the node did not understand the call, as opposed to: could not answer it.
    pub(crate) fn is_invalid_request(&self) -> bool {
        self.node_error().is_some_and(|error| matches!(error.code, -32600 | -32602) && self.pruned().is_none())
    }

    /// Whether the node answered with an error of its own.
    pub(crate) fn node_error(&self) -> Option<&JsonRpcError> {
        match self {
            Self::Call(error) => error.as_error_response(),
            Self::Client(_) | Self::Inconsistent { .. } | Self::Wrong { .. } => None,
        }
    }
}

impl Failure for EvmError {
    fn mismatch(&self) -> Option<&str> {
        match self {
            Self::Wrong { reason, .. } => Some(reason),
            Self::Call(_) | Self::Client(_) | Self::Inconsistent { .. } => None,
        }
    }
}

impl From<ProviderError> for EvmError {
    /// Finds our own error inside, with its causes: `ethers` would show only its text.
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::JsonRpcClientError(inner) => {
                let inner: Box<dyn std::error::Error + Send + Sync> = inner;
                match inner.downcast::<CallError>() {
                    Ok(call) => Self::Call(*call),
                    Err(other) => Self::Client(ProviderError::CustomError(other.to_string())),
                }
            }
            other => Self::Client(other),
        }
    }
}
