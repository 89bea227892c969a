//! The example's chain, watched by the real engine with a real database.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wopay_chain_watchers::{ChainWatcher, OutboxSignal, WatcherConfig};
use wopay_domain::{Asset, AssetId, ChainFamily, ChainName, ChainSpec};
use wopay_example_chain_family::{FileBlock, FileSource, FileTransfer, LedgerFile};
use wopay_testkit::{database, eventually};

const SOON: Duration = Duration::from_secs(20);
const ADDRESS: &str = "0x00000000000000000000000000000000000000a1";

/// The file, and whoever writes it.
struct Keeper {
    path: PathBuf,
    ledger: LedgerFile,
    named: u64,
}

impl Keeper {
    fn new(folder: &Path) -> Self {
        let mut keeper = Self { path: folder.join("ledger.json"), ledger: LedgerFile::default(), named: 0 };
        keeper.append(Vec::new());
        keeper
    }

    /// Writes the file as a whole beside its place, and puts it there: nobody reads half of it.
    fn write(&self) {
        let fresh = self.path.with_extension("new");
        std::fs::write(&fresh, serde_json::to_vec(&self.ledger).unwrap()).unwrap();
        std::fs::rename(fresh, &self.path).unwrap();
    }

    fn append(&mut self, transfers: Vec<FileTransfer>) {
        self.named += 1;
        let time = DateTime::<Utc>::from_timestamp(1_700_000_000 + i64::try_from(self.named).unwrap(), 0).unwrap();
        self.ledger.blocks.push(FileBlock { hash: format!("hash{}", self.named), time, transfers });
        self.write();
    }
}

fn pay(id: &str, asset: &str, minor: u64) -> Vec<FileTransfer> {
    vec![FileTransfer { id: id.to_owned(), to: ADDRESS.to_owned(), asset: asset.to_owned(), minor }]
}

fn config() -> WatcherConfig {
    let name: ChainName = "paper".parse().unwrap();
    let assets = vec![Asset { id: AssetId::native(&name), symbol: "INK".to_owned(), decimals: 2 }];
    // Its addresses are of the EVM's form; its name and its source are its own.
    let (family, chain_id) = (ChainFamily::Evm, None);
    let spec = ChainSpec { name, family, chain_id, required_confirmations: 2, assets, min_deposits: BTreeMap::new() };
    let mut config = WatcherConfig::new(spec, Vec::new());
    config.poll_interval = Duration::from_millis(20);
    config.start_block = Some(1);
    config
}

/// A payment waits at the address.
async fn claim(pool: &PgPool) {
    sqlx::query(
        "WITH pooled AS (
             INSERT INTO address_pool (family, idx, address)
             VALUES ('evm', 0, $1)
         )
         INSERT INTO claims (kind, key, aggregate_id, detail)
         VALUES ('deposit:evm', $1, $2, $3::json)",
    )
    .bind(ADDRESS)
    .bind(Uuid::now_v7().to_string())
    .bind(r#"{"required_confirmations":2,"chain":"paper"}"#)
    .execute(pool)
    .await
    .unwrap();
}

/// Waits until the deposit is known with this asset, amount and stage.
async fn is_known(pool: &PgPool, transfer: &str, expected: (&str, i64, &str)) {
    eventually(&format!("{transfer} to be {expected:?}"), SOON, async || {
        let row: Option<(String, i64, String)> = sqlx::query_as(
            "SELECT asset, amount_minor::bigint, stage FROM deposit_observations WHERE chain = 'paper' AND tx_hash = $1",
        )
        .bind(transfer)
        .fetch_optional(pool)
        .await
        .unwrap();
        row.filter(|(asset, minor, stage)| (asset.as_str(), *minor, stage.as_str()) == expected).map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_chain_of_ones_own_is_watched() {
    let (database, folder) = (database().await, tempfile::tempdir().unwrap());
    let pool = &database.pool;
    claim(pool).await;
    let mut keeper = Keeper::new(folder.path());
    let sources = FileSource::of_file(keeper.path.clone());
    let watcher = ChainWatcher::with_sources(&config(), sources, pool.clone(), OutboxSignal::default()).unwrap();
    let (added, token) = (watcher.added_tokens(), CancellationToken::new());
    let running = tokio::spawn(watcher.run(token.clone()));

    keeper.append(pay("t1", "native", 500));
    is_known(pool, "t1", ("paper/native", 500, "seen")).await;
    keeper.append(Vec::new());
    is_known(pool, "t1", ("paper/native", 500, "confirmed")).await;

    // Another block in the place of the newest: what was in it has not happened.
    keeper.append(pay("t2", "native", 700));
    is_known(pool, "t2", ("paper/native", 700, "seen")).await;
    keeper.ledger.blocks.pop();
    keeper.append(Vec::new());
    keeper.append(Vec::new());
    is_known(pool, "t2", ("paper/native", 700, "orphaned")).await;
    keeper.append(pay("t2", "native", 700));
    is_known(pool, "t2", ("paper/native", 700, "seen")).await;

    // A token is added while it runs, and watched from the next block on.
    let id: AssetId = "paper/gold".parse().unwrap();
    added.set(vec![Asset { id, symbol: "GOLD".to_owned(), decimals: 3 }], BTreeMap::new());
    eventually("the token to be watched", SOON, async || {
        let from: Option<i64> = sqlx::query_scalar("SELECT from_block FROM watched_assets WHERE asset = 'paper/gold'")
            .fetch_optional(pool)
            .await
            .unwrap();
        from
    })
    .await;
    keeper.append(pay("t3", "gold", 9));
    is_known(pool, "t3", ("paper/gold", 9, "seen")).await;

    token.cancel();
    running.await.unwrap();
}
