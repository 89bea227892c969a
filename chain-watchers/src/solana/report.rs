//! What the endpoints of a cluster say, for people.

use futures::future::join_all;

use super::SolanaSource;
use super::error::SolanaError;
use super::node::SolanaNode;
use super::types::Commitment;
use crate::check::{ChainReport, EndpointReport, TokenReport};
use crate::config::{ByAddress, ConfigError, WatcherConfig};
use crate::pool::Node as _;

/// Asks every endpoint of the cluster.
pub(crate) async fn report(config: &WatcherConfig) -> Result<ChainReport, ConfigError> {
    let source = SolanaSource::new(config)?;
    let endpoints = join_all(source.pool.endpoints().iter().map(|node| report_node(node, config.by_address))).await;
    Ok(ChainReport { chain: config.chain.name.clone(), chain_id_expected: None, endpoints })
}

async fn report_node(node: &SolanaNode, by_address: Option<ByAddress>) -> EndpointReport {
    let mut report = EndpointReport { endpoint: node.label().to_owned(), ..EndpointReport::default() };
    if let Err(error) = fill(node, &mut report).await {
        report.problems.push(error.to_string());
    }
    if let Some(ByAddress { page, .. }) = by_address
        && let Err(error) = node.try_addresses(page).await
    {
        report.problems.push(format!("cannot be asked about addresses: {error}"));
    }
    report
}

async fn fill(node: &SolanaNode, report: &mut EndpointReport) -> Result<(), SolanaError> {
    let expected = node.expected();
    let genesis = node.genesis_hash().await?;
    if let Some(expected) = expected.genesis_hash.as_ref().filter(|expected| **expected != genesis) {
        report.problems.push(format!("genesis hash is {genesis}, configured is {expected}"));
    }
    report.genesis_hash = Some(genesis);
    let slot = node.slot(Commitment::Confirmed).await?;
    let newest = node.newest(slot).await?.block;
    report.head = Some(newest.number);
    let age = chrono::Utc::now().signed_duration_since(newest.time).num_seconds();
    report.head_age_s = Some(u64::try_from(age).unwrap_or_default());
    report.finalized = Some(node.slot(Commitment::Finalized).await?);
    if expected.mints.is_empty() {
        return Ok(());
    }
    let mints: Vec<&str> = expected.mints.iter().map(|(mint, _)| mint.as_str()).collect();
    for ((mint, asset), facts) in expected.mints.iter().zip(node.mints(&mints).await?) {
        let problem = facts.problem(mint, asset);
        report.tokens.push(TokenReport {
            symbol: asset.symbol.clone(),
            contract: mint.clone(),
            decimals_expected: asset.decimals,
            has_code: facts.is_mint,
            decimals: facts.decimals,
            symbol_on_chain: None,
            ok: problem.is_none(),
        });
        report.problems.extend(problem);
    }
    Ok(())
}
