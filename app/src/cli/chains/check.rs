//! `wopay chains check`.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use comfy_table::{ContentArrangement, Table, presets};
use wopay_chain_watchers::{ChainReport, EndpointReport, TokenReport, check};
use wopay_domain::ChainCatalog;

use crate::chain_tables::complete_genesis;
use crate::cli::audit::ReadLedger;
use crate::config::Loaded;
use crate::roles::watcher_config;
use crate::services;

/// Asks, and prints what is not as it should be.
///
/// # Errors
/// When there is something, or nothing to ask.
pub(super) async fn run(loaded: Loaded, json: bool) -> anyhow::Result<()> {
    let config = loaded.config.clone();
    let catalog = accepted(loaded).await?;
    let mut unserved: Vec<String> =
        catalog.unserved().iter().map(|(name, unserved)| format!("\n{name}: {unserved}")).collect();
    let mut watched = Vec::new();
    for (name, chain) in &config.chains {
        let (Some(spec), mut chain) = (catalog.get(name), chain.clone()) else { continue };
        let accepted = catalog.changes(&spec.name).and_then(|changes| changes.accepted.as_ref());
        match accepted.map(|accepted| complete_genesis(&mut chain, accepted)) {
            Some(Err(reason)) => unserved.push(format!("\n{name}: {reason}")),
            None | Some(Ok(())) => watched.push(watcher_config(spec, &chain)),
        }
    }
    let unserved = unserved.concat();
    if watched.is_empty() {
        bail!("no chain is configured: add a [chains.<name>] table{unserved}");
    }
    let reports = check(&watched).await.context("the chains were not checked")?;
    crate::cli::print_line(&if json { serde_json::to_string_pretty(&reports)? } else { table(&reports) });
    if reports.iter().all(ChainReport::is_ok) && unserved.is_empty() {
        return Ok(());
    }
    if !json {
        problems(&reports).for_each(|problem| crate::cli::print_line(&problem));
    }
    bail!("not everything is as configured{unserved}")
}

/// The configured chains with the tokens that were added since. An installation that was never started has no ledger, and
/// is checked all the same.
async fn accepted(loaded: Loaded) -> anyhow::Result<ChainCatalog> {
    let configured = Arc::clone(&loaded.catalog);
    if loaded.catalog.iter().next().is_none() || !services::has_database(&loaded.config) {
        return Ok(ChainCatalog::clone(&configured));
    }
    let ledger = ReadLedger::open(loaded).await.context("cannot read which tokens were added at run time")?;
    let catalog = ledger.catalog(&configured).await;
    ledger.close().await;
    catalog
}

fn table(reports: &[ChainReport]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["Chain", "Endpoint", "Chain id or genesis", "Head", "Head age", "Finalized", "Tokens", "Result"]);
    for report in reports {
        for endpoint in &report.endpoints {
            table.add_row([
                report.chain.to_string(),
                endpoint.endpoint.clone(),
                endpoint.genesis_hash.clone().unwrap_or_else(|| number(endpoint.chain_id)),
                number(endpoint.head),
                endpoint.head_age_s.map_or_else(dash, |seconds| format!("{seconds} s")),
                number(endpoint.finalized),
                endpoint.tokens.iter().map(token).collect::<Vec<_>>().join("\n"),
                verdict(endpoint).to_owned(),
            ]);
        }
    }
    table.to_string()
}

fn problems(reports: &[ChainReport]) -> impl Iterator<Item = String> {
    reports.iter().flat_map(|report| {
        report.endpoints.iter().flat_map(move |endpoint| {
            let place = format!("{} at {}", report.chain, endpoint.endpoint);
            endpoint.problems.iter().map(move |problem| format!("{place}: {problem}"))
        })
    })
}

fn token(token: &TokenReport) -> String {
    let sign = if token.ok { "ok" } else { "WRONG" };
    format!("{} ({}) {sign}", token.symbol, token.decimals.map_or_else(dash, |decimals| decimals.to_string()))
}

const fn verdict(endpoint: &EndpointReport) -> &'static str {
    if endpoint.problems.is_empty() { "ok" } else { "WRONG" }
}

fn number(value: Option<u64>) -> String {
    value.map_or_else(dash, |value| value.to_string())
}

fn dash() -> String {
    "-".to_owned()
}
