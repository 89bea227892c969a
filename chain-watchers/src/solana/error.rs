//! What can go wrong between us and a Solana node.

use solana_client::client_error::{ClientError, ClientErrorKind};
use solana_client::rpc_custom_error::{
    JSON_RPC_SERVER_ERROR_BLOCK_CLEANED_UP, JSON_RPC_SERVER_ERROR_BLOCK_NOT_AVAILABLE,
    JSON_RPC_SERVER_ERROR_BLOCK_STATUS_NOT_AVAILABLE_YET, JSON_RPC_SERVER_ERROR_LONG_TERM_STORAGE_SLOT_SKIPPED,
    JSON_RPC_SERVER_ERROR_MIN_CONTEXT_SLOT_NOT_REACHED, JSON_RPC_SERVER_ERROR_SLOT_SKIPPED,
};
use solana_client::rpc_request::RpcError;

use super::sender;
use crate::pool::Failure;

/// Why an endpoint gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SolanaError {
    /// A call failed.
    #[error("{endpoint} did not answer {method}: {}", source.kind())]
    Call {
        endpoint: String,
        method: &'static str,
        #[source]
        source: Box<ClientError>,
    },
    /// Answers that contradict each other, or lack what they must have.
    #[error("{endpoint} contradicts itself: {what}")]
    Inconsistent { endpoint: String, what: String },
    /// The node no longer keeps a block that is needed.
    #[error("{endpoint} no longer has block {slot}: it is pruned, an endpoint with the cluster's history is needed")]
    Pruned { endpoint: String, slot: u64 },
    /// The endpoint belongs to another cluster, or a mint is not what the configuration says.
    #[error("{endpoint}: {reason}")]
    Wrong { endpoint: String, reason: String },
}

/// What a node says instead of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// The slot has no block.
    Skipped,
    /// Perhaps it has one; the node does not know yet.
    NotYet,
    /// The node has forgotten it.
    Pruned,
}

impl SolanaError {
    /// What the node says instead of a block, if it is that.
    pub(super) fn absence(&self) -> Option<Absence> {
        let Self::Call { source, .. } = self else { return None };
        let ClientErrorKind::RpcError(RpcError::RpcResponseError { code, .. }) = source.kind() else { return None };
        match *code {
            JSON_RPC_SERVER_ERROR_SLOT_SKIPPED | JSON_RPC_SERVER_ERROR_LONG_TERM_STORAGE_SLOT_SKIPPED => {
                Some(Absence::Skipped)
            }
            JSON_RPC_SERVER_ERROR_BLOCK_NOT_AVAILABLE | JSON_RPC_SERVER_ERROR_BLOCK_STATUS_NOT_AVAILABLE_YET => {
                Some(Absence::NotYet)
            }
            JSON_RPC_SERVER_ERROR_BLOCK_CLEANED_UP => Some(Absence::Pruned),
            _ => None,
        }
    }

    /// Whether the node has not come as far as it was asked to have.
    pub(super) fn is_behind(&self) -> bool {
        matches!(self, Self::Call { source, .. } if is_behind(source))
    }
}

impl Failure for SolanaError {
    fn mismatch(&self) -> Option<&str> {
        match self {
            Self::Wrong { reason, .. } => Some(reason),
            Self::Call { .. } | Self::Inconsistent { .. } | Self::Pruned { .. } => None,
        }
    }

    fn is_not_asked(&self) -> bool {
        match self {
            // A node that lags by some slots is the same node, and a good one.
            Self::Call { source, .. } => sender::is_not_asked(source) || is_behind(source),
            Self::Inconsistent { .. } | Self::Pruned { .. } | Self::Wrong { .. } => false,
        }
    }
}

/// Whether the node has not come as far as it was asked to have.
fn is_behind(error: &ClientError) -> bool {
    matches!(
        error.kind(),
        ClientErrorKind::RpcError(RpcError::RpcResponseError {
            code: JSON_RPC_SERVER_ERROR_MIN_CONTEXT_SLOT_NOT_REACHED,
            ..
        })
    )
}
