//! What can go wrong between us and an EVM node. No message holds more of an endpoint's URL than host and port.

use std::time::Duration;

use ethers::providers::JsonRpcError;

use crate::pool::attempt::with_causes;
use crate::pool::{Failure, Outcome};

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
    /// The endpoint is left alone for now: it failed again and again, refuses calls as too many, or its budget is spent.
    #[error("{endpoint} is not asked {method}: {reason}")]
    NotAsked { endpoint: String, method: String, reason: String },
    /// An HTTP answer that is no success.
    #[error("{endpoint} answered {method} with HTTP {status} and {}", shown(content_type))]
    Status {
        endpoint: String,
        method: String,
        status: u16,
        content_type: String,
        /// When to come again, if it says so.
        retry_after: Option<Duration>,
    },
    /// The endpoint does not know us.
    #[error(
        "{endpoint} refuses us (HTTP {status} to {method}): the key in its URL is missing, wrong or not meant for this"
    )]
    Unauthorized { endpoint: String, method: String, status: u16 },
    /// A body that goes on and on.
    #[error("{endpoint} answered {method} with more than {bytes_max} bytes")]
    TooLarge { endpoint: String, method: String, bytes_max: usize },
    /// A body that is not JSON-RPC, for example an HTML page.
    #[error("{endpoint} answered {method} with {}, which is not JSON-RPC", shown(content_type))]
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
    /// An answer that does not name the call: it may be the answer to another one, perhaps to somebody else's.
    #[error("{endpoint} answered another call than our {method}")]
    Misaddressed { endpoint: String, method: String },
    /// The node's own error, as it may be shown.
    #[error("{endpoint} answered {method} with error {}: {}", said.code, said.message)]
    Node { endpoint: String, method: String, said: JsonRpcError },
}

impl CallError {
    /// Whether the same call may succeed a moment later at the same endpoint.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            // Whoever let us wait for the whole timeout is not asked the same again before the others are.
            Self::Transport { source, .. } => !source.is_timeout() && (source.is_connect() || source.is_request()),
            Self::Status { status, .. } => matches!(status, 502..=504),
            // Another endpoint may take it at once; see `refusal`.
            Self::NotAsked { .. } | Self::Unauthorized { .. } => false,
            Self::TooLarge { .. }
            | Self::NotJsonRpc { .. }
            | Self::Shape { .. }
            | Self::Unanswered { .. }
            | Self::Misaddressed { .. }
            | Self::Node { .. } => false,
        }
    }
}

impl CallError {
    /// Whether the endpoint refuses to be asked as often, and if so, when to come again, if it says so.
    pub(crate) fn refusal(&self) -> Option<Option<Duration>> {
        match self {
            Self::Status { status: 429, retry_after, .. } => Some(*retry_after),
            Self::Status { status: 503, retry_after: Some(retry_after), .. } => Some(Some(*retry_after)),
            Self::Node { said, .. } if is_rate_limit(said) => Some(None),
            _ => None,
        }
    }

    /// What the call says about the endpoint.
    pub(crate) fn outcome(&self) -> Outcome {
        if let Some(retry_after) = self.refusal() {
            return Outcome::Refused(retry_after);
        }
        match self {
            Self::Status { status: 400 | 413..=415 | 422, .. }
            | Self::TooLarge { .. }
            | Self::Shape { .. }
            | Self::Unanswered { .. }
            | Self::NotAsked { .. }
            | Self::Node { .. } => Outcome::Answered,
            Self::Transport { .. }
            | Self::Status { .. }
            | Self::Unauthorized { .. }
            | Self::Misaddressed { .. }
            | Self::NotJsonRpc { .. } => Outcome::Failed(with_causes(self)),
        }
    }

    /// Whether the node has forgotten what was asked for.
    pub(crate) fn is_pruned(&self) -> bool {
        matches!(self, Self::Node { said, .. } if speaks_of_pruning(said))
    }

    /// Whether the endpoint was not asked, or refused to be asked as often.
    pub(crate) fn is_not_asked(&self) -> bool {
        matches!(self, Self::NotAsked { .. }) || self.refusal().is_some()
    }

    /// The node's own error, if it is that.
    fn node_error(&self) -> Option<&JsonRpcError> {
        match self {
            Self::Node { said, .. } => Some(said),
            _ => None,
        }
    }
}

/// Providers say "too many calls" in many ways. A bare -32005, or "limit exceeded", is none of them: it is what some say of
/// a result that is too large.
pub(crate) fn is_rate_limit(error: &JsonRpcError) -> bool {
    const WORDS: [&str; 10] = [
        "rate limit",
        "rate-limit",
        "too many requests",
        "request limit",
        "requests limit",
        "request count exceeded",
        "request rate exceeded",
        "requests per second",
        "compute units per second",
        "capacity exceeded",
    ];
    let said = error.message.to_ascii_lowercase();
    matches!(error.code, 429 | -32029) || WORDS.iter().any(|words| said.contains(words))
}

/// Every kind of node has words of its own for what it has forgotten.
fn speaks_of_pruning(error: &JsonRpcError) -> bool {
    const WORDS: [&str; 12] = [
        "missing trie node",
        "state not available",
        "state is not available",
        "no state available",
        "state unavailable",
        "historical state",
        "state already discarded",
        "state has been pruned",
        "pruned",
        "pruning",
        "archive",
        "distance to target block exceeds",
    ];
    let said = error.message.to_ascii_lowercase();
    // EIP-4444 gives it a code.
    error.code == 4444 || WORDS.iter().any(|words| said.contains(words))
}

/// A content type, for people.
fn shown(content_type: &str) -> String {
    if content_type.to_ascii_lowercase().contains("html") {
        return format!("an HTML page ({content_type})");
    }
    format!("content of type {content_type:?}")
}

/// Why an endpoint gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EvmError {
    /// A call failed.
    #[error(transparent)]
    Call(CallError),
    /// Answers that contradict each other: the node lies, lags, or its chain has just changed.
    #[error("{endpoint} contradicts itself: {what}")]
    Inconsistent { endpoint: String, what: String },
    /// The node no longer has what was asked for.
    #[error(
        "{endpoint} no longer has {what}: it is pruned (or not synced yet), an endpoint with older blocks is needed"
    )]
    Pruned {
        endpoint: String,
        what: String,
        #[source]
        said: Option<Box<CallError>>,
    },
    /// The endpoint cannot show what happens inside a block, which is too much for it.
    #[error("no traces of block {block}")]
    Untraced {
        block: u64,
        #[source]
        failure: Box<EvmError>,
    },
    /// The endpoint belongs to another chain, or a token is not what the configuration says.
    #[error("{endpoint}: {reason}")]
    Wrong { endpoint: String, reason: String },
}

impl EvmError {
    /// Whether a call was executed and failed, as opposed to: was not executed.
    pub(crate) fn is_revert(&self) -> bool {
        self.node_error().is_some_and(|error| error.code == 3 || error.message.contains("revert"))
    }

    /// What the node says when it has forgotten the state of a block, if that is the failure.
    pub(crate) fn pruned(&self) -> Option<&str> {
        self.node_error().filter(|error| speaks_of_pruning(error)).map(|error| error.message.as_str())
    }

    /// Whether the node did not understand the call, as opposed to: could not answer it.
    pub(crate) fn is_invalid_request(&self) -> bool {
        self.is_answer() && self.node_error().is_some_and(|error| matches!(error.code, -32600 | -32602))
    }

    /// Whether the node answered, with an error of its own, what was asked: another question may get a better answer. Not
    /// when it wants to be asked less, or has forgotten what the question is about.
    pub(crate) fn is_answer(&self) -> bool {
        self.node_error().is_some() && self.pruned().is_none() && !self.is_not_asked()
    }

    /// The node's own error, if it is that.
    fn node_error(&self) -> Option<&JsonRpcError> {
        match self {
            Self::Call(error) => error.node_error(),
            Self::Pruned { said, .. } => said.as_ref().and_then(|said| said.node_error()),
            Self::Inconsistent { .. } | Self::Untraced { .. } | Self::Wrong { .. } => None,
        }
    }
}

impl Failure for EvmError {
    fn mismatch(&self) -> Option<&str> {
        match self {
            Self::Wrong { reason, .. } => Some(reason),
            Self::Call(_) | Self::Inconsistent { .. } | Self::Pruned { .. } | Self::Untraced { .. } => None,
        }
    }

    fn is_not_asked(&self) -> bool {
        match self {
            Self::Call(error) => error.is_not_asked(),
            Self::Inconsistent { .. } | Self::Pruned { .. } | Self::Untraced { .. } | Self::Wrong { .. } => false,
        }
    }
}
