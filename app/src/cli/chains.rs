//! `wopay chains …`.

use anyhow::{Context as _, bail};
use comfy_table::{ContentArrangement, Table, presets};
use wopay_chain_watchers::{ChainReport, EndpointReport, TokenReport, check};

use crate::config::Loaded;
use crate::roles::watcher_config;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Ask every endpoint of every configured chain for its chain id, head and finality, and for each token's code and
    /// decimals. Ends with exit code 1 if anything is not as configured.
    Check {
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    pub(super) async fn run(self, loaded: Loaded) -> anyhow::Result<()> {
        let Self::Check { json } = self;
        let chains = loaded.config.chains.iter();
        let watched: Vec<_> = chains
            .filter_map(|(name, chain)| Some(watcher_config(loaded.catalog.get(name)?, chain)))
            .collect();
        if watched.is_empty() {
            bail!("no chain is configured: add a [chains.<name>] table");
        }
        let reports = check(&watched).await.context("the chains were not checked")?;
        super::print_line(&if json { serde_json::to_string_pretty(&reports)? } else { table(&reports) });
        if reports.iter().all(ChainReport::is_ok) {
            return Ok(());
        }
        if !json {
            problems(&reports).for_each(|problem| super::print_line(&problem));
        }
        bail!("not everything is as configured")
    }
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
