//! `solana-client`'s calls over our own transport: limits, metrics, and errors that hold no credentials.

use async_trait::async_trait;
use ethers::providers::JsonRpcError;
use serde_json::Value;
use solana_client::client_error::{ClientError, ClientErrorKind, Result};
use solana_client::rpc_request::{RpcError, RpcRequest, RpcResponseErrorData};
use solana_client::rpc_sender::{RpcSender, RpcTransportStats};

use crate::evm::client::RpcClient;
use crate::evm::error::{CallError, is_rate_limit};

/// Sends over one endpoint's client.
pub(super) struct Sender(pub(super) RpcClient);

#[async_trait]
impl RpcSender for Sender {
    async fn send(&self, request: RpcRequest, params: Value) -> Result<Value> {
        let answered: std::result::Result<Value, CallError> = self.0.ask(&request.to_string(), &params).await;
        answered.map_err(|error| ClientError::new_with_request(kind(error), request))
    }

    fn get_transport_stats(&self) -> RpcTransportStats {
        RpcTransportStats::default()
    }

    /// Shown in errors and logs: without path or query.
    fn url(&self) -> String {
        self.0.endpoint().to_owned()
    }
}

/// Whether the endpoint was not asked, or refused to be asked as often.
pub(super) fn is_not_asked(error: &ClientError) -> bool {
    match error.kind() {
        ClientErrorKind::RpcError(RpcError::ForUser(_)) => true,
        ClientErrorKind::RpcError(RpcError::RpcResponseError { code, message, .. }) => {
            is_rate_limit(&JsonRpcError { code: *code, message: message.clone(), data: None })
        }
        _ => false,
    }
}

fn kind(error: CallError) -> ClientErrorKind {
    match error {
        CallError::Node { said, .. } => ClientErrorKind::RpcError(RpcError::RpcResponseError {
            code: said.code,
            message: said.message,
            data: RpcResponseErrorData::Empty,
        }),
        // What is said for people only: the endpoint was not asked.
        other if other.is_not_asked() => ClientErrorKind::RpcError(RpcError::ForUser(other.to_string())),
        other => {
            let cause = std::error::Error::source(&other).map(|cause| format!(": {cause}")).unwrap_or_default();
            ClientErrorKind::Custom(format!("{other}{cause}"))
        }
    }
}
