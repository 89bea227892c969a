//! `wopay chains add-token`.

use anyhow::{Context as _, bail};
use wopay_chain_watchers::check;
use wopay_domain::chains::{AddToken, ChainCommand};
use wopay_domain::{Asset, AssetId, ChainSpec};

use super::{chain, execute, now};
use crate::cli::print_line;
use crate::config::{Loaded, canonical_token};
use crate::context::Administration;
use crate::roles::watcher_config;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The chain, by its name in the configuration.
    chain: String,
    /// What payments name it by.
    #[arg(long)]
    symbol: String,
    /// Its contract, or its mint.
    #[arg(long, visible_alias = "mint")]
    contract: String,
    /// Digits after the point.
    #[arg(long)]
    decimals: u8,
    /// The least that counts, for example 0.5: a deposit of less is dust, a payment of less is refused. Without it everything counts.
    #[arg(long, value_name = "AMOUNT")]
    min_deposit: Option<String>,
}

impl Args {
    pub(super) async fn run(self, loaded: Loaded) -> anyhow::Result<()> {
        let spec = chain(&loaded.catalog, &self.chain)?.clone();
        let contract = canonical_token(spec.family, &self.contract).map_err(anyhow::Error::msg)?;
        let id = AssetId::token(&spec.name, &contract)?;
        let token = Asset { id, symbol: self.symbol, decimals: self.decimals };
        let least = self.min_deposit.as_deref().map(|text| token.parse(text)).transpose();
        let min_deposit = least.map_err(|error| anyhow::anyhow!("`--min-deposit` of {} {error}", token.symbol))?;
        ask_nodes(&loaded, &spec, &token).await?;
        let administration = Administration::open(loaded).await?;
        let (chain, configured) = (spec.name.clone(), spec.assets);
        let add = AddToken { chain, token: token.clone(), min_deposit, configured, at: now() };
        let added = execute(&administration, ChainCommand::AddToken(add)).await;
        administration.close().await;
        print_line(&match added?.position {
            Some(_) => format!(
                "{} is accepted on {} as soon as the chain's watcher looks for it, which it does from its next block on: \
                 see `wopay chains list`.",
                token.symbol, spec.name
            ),
            None => format!("{} is accepted on {} already.", token.symbol, spec.name),
        });
        Ok(())
    }
}

/// Compares the token with what every endpoint says of it. An event is for ever.
async fn ask_nodes(loaded: &Loaded, spec: &ChainSpec, token: &Asset) -> anyhow::Result<()> {
    let configured = loaded.config.chains.get(spec.name.as_str()).context("the chain has no table")?;
    let native = spec.assets.iter().filter(|asset| asset.id.contract().is_none()).cloned();
    let assets = native.chain([token.clone()]).collect();
    let asked = watcher_config(&ChainSpec { assets, ..spec.clone() }, configured);
    let reports = check(&[asked]).await.context("the nodes were not asked")?;
    let endpoints: Vec<_> = reports.iter().flat_map(|report| &report.endpoints).collect();
    let problems: Vec<String> = endpoints
        .iter()
        .flat_map(|endpoint| {
            endpoint.problems.iter().map(|problem| format!("{} at {}: {problem}", spec.name, endpoint.endpoint))
        })
        .collect();
    if !problems.is_empty() {
        bail!("the token was not added:\n{}", problems.join("\n"));
    }
    let named =
        endpoints.iter().flat_map(|endpoint| &endpoint.tokens).find_map(|token| token.symbol_on_chain.as_deref());
    if let Some(named) = named.filter(|named| *named != token.symbol) {
        print_line(&format!("The contract calls itself {named:?}; payments name it {:?}.", token.symbol));
    }
    Ok(())
}
