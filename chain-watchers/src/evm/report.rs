//! What the endpoints of an EVM chain say, for people.

use ethers::types::Address;
use futures::future::join_all;
use wopay_domain::Asset;

use super::EvmSource;
use super::endpoint::Endpoint;
use super::error::EvmError;
use super::inspect::{token_facts, token_symbol};
use super::traces::inside;
use super::types::address_text;
use crate::check::{ChainReport, EndpointReport, TokenReport};
use crate::config::{ConfigError, Finality, FinalityTag, Traces, WatcherConfig};
use crate::pool::Node;

/// Asks every endpoint of the chain.
pub(crate) async fn report(config: &WatcherConfig) -> Result<ChainReport, ConfigError> {
    let source = EvmSource::new(config)?;
    let reports = source.pool.endpoints().iter().map(|endpoint| report_endpoint(&source, endpoint));
    Ok(ChainReport {
        chain: config.chain.name.clone(),
        chain_id_expected: config.chain.chain_id,
        endpoints: join_all(reports).await,
    })
}

async fn report_endpoint(source: &EvmSource, endpoint: &Endpoint) -> EndpointReport {
    let mut report = EndpointReport { endpoint: endpoint.label().to_owned(), ..EndpointReport::default() };
    if let Err(error) = fill(source, endpoint, &mut report).await {
        report.problems.push(error.to_string());
    }
    report
}

async fn fill(source: &EvmSource, endpoint: &Endpoint, report: &mut EndpointReport) -> Result<(), EvmError> {
    let expected = endpoint.expected();
    let chain_id = endpoint.chain_id().await?;
    report.chain_id = Some(chain_id);
    if chain_id != expected.chain_id {
        report.problems.push(format!("chain id is {chain_id}, configured is {}", expected.chain_id));
    }
    let newest = endpoint.newest().await?.block;
    report.head = Some(newest.number);
    let age = chrono::Utc::now().signed_duration_since(newest.time).num_seconds();
    report.head_age_s = Some(u64::try_from(age).unwrap_or_default());
    let tag = match source.finality {
        Finality::Tag(tag) => tag,
        Finality::Depth => FinalityTag::Finalized,
    };
    report.finalized = endpoint.tagged_height(tag).await?;
    if report.finalized.is_none() && source.finality != Finality::Depth {
        report.problems.push(format!("knows no block of the tag {:?}: nothing will be confirmed", tag.as_str()));
    }
    if source.options.traces != Traces::None {
        report.problems.extend(trace_problem(source, endpoint, newest.number).await);
    }
    for (contract, asset) in &expected.tokens {
        let (token, problem) = report_token(endpoint, *contract, asset).await?;
        report.tokens.push(token);
        report.problems.extend(problem);
    }
    Ok(())
}

/// Why native money from contracts would not be seen by this endpoint's traces.
async fn trace_problem(source: &EvmSource, endpoint: &Endpoint, newest: u64) -> Option<String> {
    let native = source.assets.native_value(newest)?;
    let traced = async {
        let Some(block) = endpoint.block_at(newest).await? else { return Ok(()) };
        inside(endpoint, source.options.traces, native, &block).await.map(drop)
    };
    let error: EvmError = traced.await.err()?;
    Some(format!("gives no traces, without which no block is processed: {error}"))
}

async fn report_token(
    endpoint: &Endpoint,
    contract: Address,
    asset: &Asset,
) -> Result<(TokenReport, Option<String>), EvmError> {
    let facts = token_facts(endpoint, contract).await?;
    let symbol_on_chain = if facts.has_code { token_symbol(endpoint, contract).await? } else { None };
    let problem = facts.problem(contract, asset);
    let report = TokenReport {
        symbol: asset.symbol.clone(),
        contract: address_text(contract),
        decimals_expected: asset.decimals,
        has_code: facts.has_code,
        decimals: facts.decimals,
        symbol_on_chain,
        ok: problem.is_none(),
    };
    Ok((report, problem))
}
