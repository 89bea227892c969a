//! `wopay chains add`.

use anyhow::{Context as _, bail};
use wopay_chain_watchers::{ChainReport, check};
use wopay_commands::Ledger;
use wopay_domain::ChainSpec;
use wopay_domain::chains::{AcceptedChain, AddChain, ChainCommand, ChainError};

use super::{chain, execute, now};
use crate::cli::print_line;
use crate::config::{ChainConfig, Loaded};
use crate::context::Administration;
use crate::roles::watcher_config;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The chain, by the name of its table in the configuration.
    chain: String,
    /// Why. It stays in the ledger for ever.
    #[arg(long)]
    reason: Option<String>,
}

impl Args {
    pub(super) async fn run(self, loaded: Loaded) -> anyhow::Result<()> {
        let spec = chain(&loaded.catalog, &self.chain);
        let spec = spec.with_context(|| format!("write [chains.{}] into the configuration first", self.chain))?.clone();
        let table = loaded.config.chains.get(spec.name.as_str()).cloned().context("the chain has no table")?;
        let administration = Administration::open(loaded).await?;
        let added = add(&administration, &spec, &table, self.reason).await;
        administration.close().await;
        added?;
        let symbols: Vec<&str> = spec.assets.iter().map(|asset| asset.symbol.as_str()).collect();
        print_line(&format!(
            "{} is accepted: {}; payments ask for {} confirmations. Each process reads its table from its own configuration, \
             and payments are taken as soon as its watcher has begun: see `wopay chains list`.",
            spec.name,
            symbols.join(", "),
            spec.required_confirmations,
        ));
        Ok(())
    }
}

async fn add(
    administration: &Administration,
    spec: &ChainSpec,
    table: &ChainConfig,
    reason: Option<String>,
) -> anyhow::Result<()> {
    check_is_new(&administration.ledger, spec).await?;
    let genesis_hash = ask_nodes(spec, table).await?;
    check_has_one_name(&administration.ledger, spec, genesis_hash.as_deref()).await?;
    let add = AddChain {
        chain: spec.name.clone(),
        family: spec.family,
        chain_id: spec.chain_id,
        genesis_hash,
        assets: spec.assets.clone(),
        required_confirmations: spec.required_confirmations,
        reason,
        at: now(),
    };
    execute(administration, ChainCommand::Add(add)).await.map(drop)
}

/// Refuses a chain that is accepted already: by an event, or because it was in the configuration at a start.
async fn check_is_new(ledger: &Ledger, spec: &ChainSpec) -> anyhow::Result<()> {
    let chains = ledger.chains().await?;
    if let Some(accepted) = chains.get(&spec.name).and_then(|chain| chain.accepted.as_ref()) {
        bail!(ChainError::AlreadyAdded { chain: spec.name.clone(), at: accepted.at });
    }
    if ledger.begun_chains().await?.contains_key(&spec.name) {
        bail!("{} is watched already: it was in the configuration when the gateway started", spec.name);
    }
    Ok(())
}

/// One chain under two names would have each of its deposits booked twice.
async fn check_has_one_name(ledger: &Ledger, spec: &ChainSpec, genesis_hash: Option<&str>) -> anyhow::Result<()> {
    for (name, chain) in ledger.chains().await? {
        let is_same = |accepted: AcceptedChain| accepted.is_same_chain(spec.family, spec.chain_id, genesis_hash);
        if name != spec.name && chain.accepted.is_some_and(is_same) {
            bail!("{} is the chain that was added as {name}: a chain has one name", spec.name);
        }
    }
    Ok(())
}

/// Compares the chain with what every endpoint says of it: an event is for ever. The genesis hash of a chain without a
/// chain id.
async fn ask_nodes(spec: &ChainSpec, table: &ChainConfig) -> anyhow::Result<Option<String>> {
    let reports = check(&[watcher_config(spec, table)]).await.context("the nodes were not asked")?;
    let problems = problems(&reports, table.head_age_max_s);
    if !problems.is_empty() {
        bail!("the chain was not added:\n{}", problems.join("\n"));
    }
    let mut hashes = reports.iter().flat_map(|report| &report.endpoints).map(|endpoint| &endpoint.genesis_hash);
    let first = hashes.next().cloned().flatten();
    if hashes.any(|hash| *hash != first) {
        bail!("the chain was not added: its endpoints belong to several clusters");
    }
    Ok(first)
}

fn problems(reports: &[ChainReport], head_age_max_s: u32) -> Vec<String> {
    let mut problems = Vec::new();
    for report in reports {
        for endpoint in &report.endpoints {
            let place = format!("{} at {}", report.chain, endpoint.endpoint);
            problems.extend(endpoint.problems.iter().map(|problem| format!("{place}: {problem}")));
            if let Some(age) = endpoint.head_age_s.filter(|age| *age > u64::from(head_age_max_s)) {
                let most = format!("`head_age_max_s` allows {head_age_max_s} s");
                problems.push(format!("{place}: its newest block is {age} s old, and {most}"));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

    use wopay_chain_watchers::EndpointReport;

    use super::*;

    #[test]
    fn an_old_head_is_a_problem_like_any_other() {
        let endpoint = |age: u64, problems: &[&str]| EndpointReport {
            endpoint: "node.example".to_owned(),
            head_age_s: Some(age),
            problems: problems.iter().map(|&problem| problem.to_owned()).collect(),
            ..EndpointReport::default()
        };
        let report = |endpoint| {
            let chain = "bsc".parse().unwrap();
            problems(&[ChainReport { chain, chain_id_expected: Some(56), endpoints: vec![endpoint] }], 60)
        };
        assert_eq!(report(endpoint(60, &[])), Vec::<String>::new());
        let old = report(endpoint(61, &["chain id is 97, configured is 56"]));
        assert_eq!(old.len(), 2, "{old:?}");
        assert!(old.iter().all(|problem| problem.starts_with("bsc at node.example: ")), "{old:?}");
        assert!(old.iter().any(|problem| problem.contains("61 s old")), "{old:?}");
    }
}
