//! `wopay audit reconcile`: what the ledger says that our addresses hold, beside what the chain says.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use sqlx::PgPool;
use wopay_audit::reconcile::{
    AssetTotal, ChainBalances, Difference, DifferenceKind, Found, ReconcileProgress, ReconcileScope, Reconciliation,
    reconcile, watched_to,
};
use wopay_chain_watchers::{BalanceBlock, BalanceError, BalanceReader};
use wopay_domain::{Asset, AssetId, ChainFamily, ChainSpec};

use super::ledger::ReadLedger;
use crate::config::Loaded;
use crate::roles::watcher_config;

/// Differences that are printed; `--json` names more.
const PRINTED_MAX: usize = 200;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The chain, by its name in the configuration.
    #[arg(long)]
    chain: String,

    /// The block at which both sides are compared: its height, `finalized` or `latest` [default: the last that the watcher
    /// has processed]. A Solana cluster has no past: there it is `finalized` (the default) or `latest`.
    #[arg(long, value_name = "HEIGHT|finalized|latest")]
    block: Option<BalanceBlock>,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// The chain's side of the comparison.
struct Chain(BalanceReader);

impl ChainBalances for Chain {
    type Error = BalanceError;

    fn is_pinned(&self) -> bool {
        self.0.is_pinned()
    }

    async fn read(&self, accounts: &[(&str, &AssetId)]) -> Result<Vec<Found>, BalanceError> {
        let balances = self.0.read(accounts).await?;
        Ok(balances.into_iter().map(|balance| Found { minor: balance.minor, height: balance.height }).collect())
    }
}

/// Compares and prints. `false`: ledger and chain differ.
///
/// # Errors
/// When the ledger or the chain cannot be read.
pub(super) async fn run(args: Args, loaded: Loaded) -> anyhow::Result<bool> {
    let (configured, chain) = (loaded.catalog.clone(), loaded.config.chains.get(&args.chain).cloned());
    let (Some(_), Some(chain)) = (configured.get(&args.chain), chain) else {
        bail!("no chain {:?} is configured (or this version cannot read such chains)", args.chain);
    };
    let treasury: Vec<String> = loaded.config.custody.treasury.get(&args.chain).cloned().unwrap_or_default();
    let ledger = ReadLedger::open(loaded).await?;
    let compared = async {
        let catalog = ledger.catalog(&configured).await?;
        let spec = catalog.get(&args.chain).context("the chain is gone")?;
        let watching = watcher_config(spec, &chain);
        let block = match args.block {
            Some(block) => block,
            None => default_block(&ledger.pool, spec).await?,
        };
        let reader = BalanceReader::at(&watching, block).await?;
        let treasury = treasury.iter().map(|address| canonical(spec.family, address)).collect();
        let scope = ReconcileScope { chain: spec.clone(), block: reader.block().clone(), treasury };
        let bar = progress_bar();
        let chain = Chain(reader);
        let result = reconcile(&ledger.pool, &scope, &chain, |progress| show(&bar, progress)).await;
        bar.finish_and_clear();
        chain.0.check_canonical().await?;
        anyhow::Ok((result?, spec.clone()))
    };
    let compared = compared.await;
    ledger.close().await;
    let (compared, spec) = compared.context("ledger and chain were not compared")?;
    if args.json {
        crate::cli::print_line(&serde_json::to_string_pretty(&compared)?);
    } else {
        print(&compared, &spec);
    }
    Ok(compared.is_balanced())
}

/// The block at which both sides are sure to be known.
async fn default_block(pool: &PgPool, spec: &ChainSpec) -> anyhow::Result<BalanceBlock> {
    if spec.family == ChainFamily::Solana {
        return Ok(BalanceBlock::Finalized);
    }
    let height = watched_to(pool, &spec.name).await?;
    Ok(BalanceBlock::Height(height.context("the watcher has processed no block of this chain: name one with --block")?))
}

/// Addresses are compared as texts. Those of EVM chains mean the same in any case and are kept in lower case; in base58
/// another case is another address.
fn canonical(family: ChainFamily, address: &str) -> String {
    match family {
        ChainFamily::Evm => address.to_ascii_lowercase(),
        ChainFamily::Solana => address.to_owned(),
    }
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style =
        ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} addresses  {per_sec}  {eta} left  {msg}");
    // The template is constant: if it were wrong, the plain bar would do.
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn show(bar: &ProgressBar, progress: ReconcileProgress) {
    bar.set_length(progress.addresses_about.max(progress.addresses));
    bar.set_position(progress.addresses);
    if progress.differences > 0 {
        bar.set_message(format!("{} differ", progress.differences));
    }
}

fn print(compared: &Reconciliation, spec: &ChainSpec) {
    let line = crate::cli::print_line;
    line(&format!(
        "{} at block {} ({}, {}), ledger up to position {}: {} addresses compared.",
        compared.chain,
        compared.block.number,
        compared.block.hash,
        compared.block.time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        compared.position,
        compared.addresses,
    ));
    if compared.read_up_to != compared.block.number {
        line(&format!(
            "The chain tells what is held now: each balance was compared with the ledger as of the block that it is of, up \
             to block {}.",
            compared.read_up_to
        ));
    }
    if compared.is_premature() {
        let height =
            compared.watched_to.map_or_else(|| "nothing".to_owned(), |height| format!("blocks up to {height}"));
        line(&format!("The watcher has processed {height}: what came later is not in the ledger yet."));
    }
    let assets: HashMap<&AssetId, &Asset> = spec.assets.iter().map(|asset| (&asset.id, asset)).collect();
    line(&totals(&compared.totals, &assets));
    if compared.is_balanced() {
        line("Ledger and chain agree on every address.");
        return;
    }
    line(&differences(&compared.differences, &assets));
    let hidden = compared.differences_total.saturating_sub(PRINTED_MAX as u64);
    if hidden > 0 {
        line(&format!("… and {hidden} more."));
    }
    let accounts = if compared.differences_total == 1 { "account" } else { "accounts" };
    line(&format!("Ledger and chain differ in {} {accounts}.", compared.differences_total));
}

fn totals(totals: &[AssetTotal], assets: &HashMap<&AssetId, &Asset>) -> String {
    let header = [
        "Asset",
        "Confirmed",
        "Seen",
        "Unmatched",
        "Dust",
        "Refunded",
        "Left",
        "On addresses",
        "Treasury",
        "Unrecorded",
        "Missing",
    ];
    let mut table = table(&header);
    for total in totals {
        let shown = |minor: u128| amount(assets, &total.asset, minor);
        table.add_row([
            name(assets, &total.asset),
            shown(total.sums.confirmed),
            shown(total.sums.seen),
            shown(total.sums.unmatched),
            shown(total.sums.dust),
            shown(total.sums.refunded),
            shown(total.left),
            shown(total.found),
            shown(total.treasury),
            shown(total.unrecorded),
            shown(total.missing),
        ]);
    }
    table.to_string()
}

fn differences(differences: &[Difference], assets: &HashMap<&AssetId, &Asset>) -> String {
    let mut table = table(&["Address", "Payment", "Asset", "Expected", "Found", ""]);
    for difference in differences.iter().take(PRINTED_MAX) {
        let what = match difference.kind {
            DifferenceKind::Unrecorded => "not in the ledger",
            DifferenceKind::Missing => "not on the chain",
        };
        table.add_row([
            difference.address.clone(),
            difference.payment.map_or_else(|| "-".to_owned(), |payment| payment.to_string()),
            name(assets, &difference.asset),
            amount(assets, &difference.asset, difference.expected),
            amount(assets, &difference.asset, difference.found),
            what.to_owned(),
        ]);
    }
    table.to_string()
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(header);
    let amounts = |header: &str| !matches!(header, "Address" | "Payment" | "Asset" | "");
    for (column, header) in table.column_iter_mut().zip(header) {
        if amounts(header) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The symbol of what is configured, the id of what is not.
fn name(assets: &HashMap<&AssetId, &Asset>, id: &AssetId) -> String {
    assets.get(id).map_or_else(|| id.to_string(), |asset| asset.symbol.clone())
}

/// In whole units of what is configured, in minor units of what is not.
fn amount(assets: &HashMap<&AssetId, &Asset>, id: &AssetId, minor: u128) -> String {
    assets.get(id).map_or_else(|| minor.to_string(), |asset| asset.format(minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_case_of_an_address_counts_in_base58_alone() {
        assert_eq!(canonical(ChainFamily::Evm, "0xAbC"), "0xabc");
        assert_eq!(canonical(ChainFamily::Solana, "8HqE8wzj"), "8HqE8wzj");
    }
}
