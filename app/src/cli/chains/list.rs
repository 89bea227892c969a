//! `wopay chains list`.

use std::collections::BTreeMap;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;
use wopay_domain::catalog::Unserved;
use wopay_domain::chains::{AddedToken, Pause};
use wopay_domain::{Asset, AssetId, ChainCatalog, ChainName, ChainSpec, Closed, Timestamp};

use crate::config::Loaded;
use crate::context::Administration;

/// A chain as it is accepted at the moment.
#[derive(Serialize)]
struct ChainRow<'a> {
    chain: &'a str,
    kind: &'static str,
    chain_id: Option<u64>,
    required_confirmations: u32,
    /// When the chain was added; null: it was never added, only configured.
    added_at: Option<Timestamp>,
    /// Why this configuration does not serve it, although it was added.
    unserved: Option<String>,
    /// Why the whole chain takes no new payments.
    paused: Option<PauseRow<'a>>,
    assets: Vec<AssetRow<'a>>,
}

/// One of its assets.
#[derive(Serialize)]
struct AssetRow<'a> {
    symbol: &'a str,
    asset: &'a AssetId,
    decimals: u8,
    /// The least that is no dust, as a decimal number; null: everything counts.
    min_deposit: Option<String>,
    /// When it was added; null: it is in the configuration.
    added_at: Option<Timestamp>,
    /// From which block an added token is watched; null: not yet, or from the beginning.
    watched_from_block: Option<i64>,
    /// Whether there are new payments in it.
    open: bool,
    paused: Option<PauseRow<'a>>,
    #[serde(skip)]
    state: String,
}

#[derive(Serialize)]
struct PauseRow<'a> {
    reason: &'a str,
    since: Timestamp,
}

impl<'a> From<&'a Pause> for PauseRow<'a> {
    fn from(pause: &'a Pause) -> Self {
        Self { reason: &pause.reason, since: pause.since }
    }
}

pub(super) async fn run(loaded: Loaded, json: bool) -> anyhow::Result<()> {
    let configured = loaded.catalog.clone();
    let administration = Administration::open(loaded).await?;
    let read = async {
        let catalog = administration.ledger.catalog(&configured).await?;
        anyhow::Ok((catalog, administration.ledger.watched_assets().await?))
    };
    let read = read.await;
    administration.close().await;
    let (catalog, watched) = read?;
    let served = catalog.iter().map(|chain| row(&catalog, configured.get(chain.name.as_str()), chain, &watched));
    let rows: Vec<ChainRow<'_>> = served.chain(catalog.unserved().iter().map(unserved_row)).collect();
    crate::cli::print_line(&if json { serde_json::to_string_pretty(&rows)? } else { table(&rows) });
    Ok(())
}

fn row<'a>(
    catalog: &'a ChainCatalog,
    configured: Option<&ChainSpec>,
    chain: &'a ChainSpec,
    watched: &BTreeMap<AssetId, i64>,
) -> ChainRow<'a> {
    let changes = catalog.changes(&chain.name);
    let accepted = changes.and_then(|changes| changes.accepted.as_ref());
    let added_at = |asset: &Asset| {
        let is_configured = configured.is_some_and(|configured| configured.asset(&asset.id).is_some());
        let added = changes.into_iter().flat_map(|changes| &changes.added).find(|added| added.token.id == asset.id);
        let with_chain = accepted.filter(|accepted| accepted.assets.contains(asset)).map(|accepted| accepted.at);
        added.map(|added: &AddedToken| added.at).or(with_chain).filter(|_| !is_configured)
    };
    let asset = |asset: &'a Asset| {
        let closed = catalog.closed(&chain.name, &asset.id);
        let own_pause = changes.and_then(|changes| changes.paused_assets.get(&asset.id));
        AssetRow {
            symbol: &asset.symbol,
            asset: &asset.id,
            decimals: asset.decimals,
            min_deposit: chain.min_deposits.get(&asset.id).map(|least| asset.format(*least)),
            added_at: added_at(asset),
            watched_from_block: watched.get(&asset.id).copied(),
            open: closed.is_none(),
            paused: own_pause.map(PauseRow::from),
            state: match closed {
                None => "open".to_owned(),
                Some(Closed::Chain(pause)) => format!("chain paused: {}", pause.reason),
                Some(Closed::Asset(pause)) => format!("paused: {}", pause.reason),
                Some(Closed::NotWatched) => "not watched yet".to_owned(),
            },
        }
    };
    ChainRow {
        chain: chain.name.as_str(),
        kind: chain.family.as_str(),
        chain_id: chain.chain_id,
        required_confirmations: chain.required_confirmations,
        added_at: accepted.map(|accepted| accepted.at),
        unserved: None,
        paused: changes.and_then(|changes| changes.paused.as_ref()).map(PauseRow::from),
        assets: chain.assets.iter().map(asset).collect(),
    }
}

/// A chain that was added and that the configuration does not have as it was added.
fn unserved_row<'a>((name, unserved): (&'a ChainName, &'a Unserved)) -> ChainRow<'a> {
    let accepted = &unserved.accepted;
    let asset = |asset: &'a Asset| AssetRow {
        symbol: &asset.symbol,
        asset: &asset.id,
        decimals: asset.decimals,
        min_deposit: None,
        added_at: Some(accepted.at),
        watched_from_block: None,
        open: false,
        paused: None,
        state: format!("NOT SERVED: {unserved}"),
    };
    ChainRow {
        chain: name.as_str(),
        kind: accepted.family.as_str(),
        chain_id: accepted.chain_id,
        required_confirmations: accepted.required_confirmations,
        added_at: Some(accepted.at),
        unserved: Some(unserved.to_string()),
        paused: None,
        assets: accepted.assets.iter().map(asset).collect(),
    }
}

fn table(rows: &[ChainRow<'_>]) -> String {
    if rows.is_empty() {
        return "No chain is configured: add a [chains.<name>] table.".to_owned();
    }
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header([
        "CHAIN",
        "KIND",
        "CONFIRMATIONS",
        "ASSET",
        "CONTRACT",
        "DECIMALS",
        "MIN DEPOSIT",
        "FROM",
        "STATE",
    ]);
    for row in rows {
        for asset in &row.assets {
            let from = match (asset.added_at.or(row.added_at), asset.watched_from_block) {
                (None, _) => "configuration".to_owned(),
                (Some(_), Some(block)) => format!("block {block}"),
                (Some(at), None) => at.format("%Y-%m-%d").to_string(),
            };
            table.add_row([
                row.chain,
                row.kind,
                &row.required_confirmations.to_string(),
                asset.symbol,
                asset.asset.contract().unwrap_or("-"),
                &asset.decimals.to_string(),
                asset.min_deposit.as_deref().unwrap_or("-"),
                &from,
                &asset.state,
            ]);
        }
    }
    table.trim_fmt()
}
