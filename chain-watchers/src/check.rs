//! What the nodes say of a chain, beside what the configuration says: for `wopay chains check`.

use futures::future::join_all;
use serde::Serialize;
use wopay_domain::{ChainFamily, ChainName};

use crate::config::{ConfigError, WatcherConfig};
use crate::{evm, solana};

/// A chain as its endpoints show it.
#[derive(Clone, Debug, Serialize)]
pub struct ChainReport {
    /// The chain.
    pub chain: ChainName,
    /// The configured chain id.
    pub chain_id_expected: Option<u64>,
    /// Every endpoint, in the order of the configuration.
    pub endpoints: Vec<EndpointReport>,
}

impl ChainReport {
    /// Whether every endpoint is as configured.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.endpoints.iter().all(|endpoint| endpoint.problems.is_empty())
    }
}

/// What one endpoint says.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EndpointReport {
    /// Host and port; never the rest of the URL.
    pub endpoint: String,
    /// Its chain id, of an EVM chain.
    pub chain_id: Option<u64>,
    /// Its genesis hash, of a Solana cluster.
    pub genesis_hash: Option<String>,
    /// Height of its newest block.
    pub head: Option<u64>,
    /// Seconds since the chain's time of that block.
    pub head_age_s: Option<u64>,
    /// Height of its newest final block, where it knows one.
    pub finalized: Option<u64>,
    /// The configured tokens.
    pub tokens: Vec<TokenReport>,
    /// Everything that is not as configured, in words. Empty: all is well.
    pub problems: Vec<String>,
}

/// What an endpoint says of a token.
#[derive(Clone, Debug, Serialize)]
pub struct TokenReport {
    /// The configured symbol.
    pub symbol: String,
    /// The contract.
    pub contract: String,
    /// The configured decimals.
    pub decimals_expected: u8,
    /// Whether there is a contract.
    pub has_code: bool,
    /// What the contract says.
    pub decimals: Option<u8>,
    /// What the contract calls itself; shown, never compared: symbols identify nothing.
    pub symbol_on_chain: Option<String>,
    /// Whether it is as configured.
    pub ok: bool,
}

/// Asks every endpoint of every chain. An endpoint that does not answer is a problem in the report, not an error.
///
/// # Errors
/// When a configuration cannot be used.
pub async fn check(chains: &[WatcherConfig]) -> Result<Vec<ChainReport>, ConfigError> {
    let mut reports = Vec::with_capacity(chains.len());
    for report in join_all(chains.iter().map(check_chain)).await {
        reports.push(report?);
    }
    Ok(reports)
}

async fn check_chain(config: &WatcherConfig) -> Result<ChainReport, ConfigError> {
    config.validate()?;
    match config.chain.family {
        ChainFamily::Evm => evm::report(config).await,
        ChainFamily::Solana => solana::report(config).await,
    }
}
