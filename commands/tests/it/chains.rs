//! Chains at run time: commands, how the catalogue follows them in other processes, and what is asked while nothing new is
//! taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use wopay_commands::merchant_changes::watch;
use wopay_commands::{CatalogError, Created, ExecuteError, IdempotencyClaim, Ledger, LiveCatalog};
use wopay_domain::chains::{AddChain, AddToken, ChainCommand, ChainError};
use wopay_domain::{Asset, AssetId, ChainCatalog, ChainFamily, ChainSpec, Closed};
use wopay_testkit::eventually;

use crate::merchants::watcher_pool;
use crate::support::{assert_whole, asset, chain, create, ledger, merchant_id, metadata, now};

/// Well below the pause after which the catalogue is read anew in any case.
const SOON: Duration = Duration::from_secs(10);

fn configured() -> ChainCatalog {
    let assets = vec![Asset { id: AssetId::native(&chain()), symbol: "ETH".to_owned(), decimals: 18 }];
    let (family, chain_id) = (ChainFamily::Evm, Some(1));
    let min_deposits = BTreeMap::new();
    ChainCatalog::new([ChainSpec { name: chain(), family, chain_id, required_confirmations: 3, assets, min_deposits }])
}

async fn add(ledger: &Ledger, token: Asset) -> Result<Option<i64>, ExecuteError<ChainError>> {
    let add = AddToken { chain: chain(), token, min_deposit: None, configured: Vec::new(), at: now() };
    ledger.execute_chain(ChainCommand::AddToken(add), &metadata()).await.map(|executed| executed.position)
}

async fn note_watched(pool: &PgPool, asset: &AssetId) {
    sqlx::query("INSERT INTO watched_assets (chain, asset, from_block) VALUES ($1, $2, 7)")
        .bind(chain().as_str())
        .bind(asset.as_str())
        .execute(pool)
        .await
        .unwrap();
    sqlx::query("SELECT pg_notify('wopay_merchants', 'chain:' || $1)")
        .bind(chain().as_str())
        .execute(pool)
        .await
        .unwrap();
}

async fn until(catalog: &LiveCatalog, what: &str, wanted: impl Fn(&ChainCatalog) -> bool) {
    eventually(what, SOON, async || wanted(&catalog.current()).then_some(())).await;
}

#[tokio::test]
async fn the_catalogue_follows_changes_that_another_process_makes() {
    let database = wopay_testkit::database().await;
    let (here, elsewhere) = (ledger(&database.pool), ledger(&database.pool));
    let (catalog, token) = (LiveCatalog::new(Arc::new(configured())), CancellationToken::new());
    let told = catalog.clone();
    let pool = watcher_pool(&database.url).await;
    let (listening, stop) = (token.clone(), token.clone());
    let watching = tokio::spawn(async move { watch(pool, listening, move |change| told.apply(change)).await });
    let following = tokio::spawn(catalog.clone().follow(here, stop));

    let usdt = asset();
    assert_eq!(add(&elsewhere, usdt.clone()).await.unwrap(), Some(1));
    until(&catalog, "the token, not watched yet", |now| now.closed(&chain(), &usdt.id) == Some(Closed::NotWatched))
        .await;
    assert_eq!(catalog.current().get("ethereum").unwrap().assets.len(), 2);
    note_watched(&database.pool, &usdt.id).await;
    until(&catalog, "the token to be open", |now| now.closed(&chain(), &usdt.id).is_none()).await;

    let pause = ChainCommand::Pause { chain: chain(), reason: "upgrade".to_owned(), at: now() };
    elsewhere.execute_chain(pause.clone(), &metadata()).await.unwrap();
    until(&catalog, "a pause", |now| matches!(now.closed(&chain(), &usdt.id), Some(Closed::Chain(_)))).await;
    assert_eq!(elsewhere.execute_chain(pause, &metadata()).await.unwrap().position, None, "nothing new");
    elsewhere.execute_chain(ChainCommand::Resume { chain: chain(), at: now() }, &metadata()).await.unwrap();
    until(&catalog, "no pause", |now| now.closed(&chain(), &usdt.id).is_none()).await;

    token.cancel();
    watching.await.unwrap();
    following.await.unwrap();
}

/// What another process appends, this one learns; then it needs the chain's table, and a watcher that has begun.
#[tokio::test]
async fn a_chain_that_is_added_is_open_once_it_is_configured_and_watched() {
    let database = wopay_testkit::database().await;
    let (here, elsewhere) = (ledger(&database.pool), ledger(&database.pool));
    let (catalog, token) = (LiveCatalog::new(Arc::new(ChainCatalog::default())), CancellationToken::new());
    let told = catalog.clone();
    let pool = watcher_pool(&database.url).await;
    let (listening, stop) = (token.clone(), token.clone());
    let watching = tokio::spawn(async move { watch(pool, listening, move |change| told.apply(change)).await });
    let following = tokio::spawn(catalog.clone().follow(here, stop));

    let spec = configured().get("ethereum").unwrap().clone();
    let native = spec.assets[0].id.clone();
    let command = ChainCommand::Add(AddChain {
        chain: chain(),
        family: spec.family,
        chain_id: spec.chain_id,
        genesis_hash: None,
        assets: spec.assets.clone(),
        required_confirmations: spec.required_confirmations,
        reason: None,
        at: now(),
    });
    elsewhere.execute_chain(command.clone(), &metadata()).await.unwrap();
    until(&catalog, "the chain, without a table", |now| now.unserved().contains_key(&chain())).await;
    catalog.configure(&elsewhere, ChainSpec { chain_id: Some(2), ..spec.clone() }).await.unwrap();
    until(&catalog, "another chain's table", |now| now.unserved().values().any(|it| it.differs.is_some())).await;
    assert!(catalog.current().get("ethereum").is_none(), "no payments on it");
    // A token that was added meanwhile has the decimals of the ledger, or the chain is not taken.
    let usdt = asset();
    add(&elsewhere, usdt.clone()).await.unwrap();
    let mut contradicting = spec.clone();
    contradicting.assets.push(Asset { decimals: 18, ..usdt });
    let refused = catalog.configure(&elsewhere, contradicting).await.unwrap_err();
    assert!(matches!(refused, CatalogError::Differs(_)), "{refused}");
    catalog.configure(&elsewhere, spec).await.unwrap();
    until(&catalog, "the chain, not watched yet", |now| now.closed(&chain(), &native) == Some(Closed::NotWatched))
        .await;
    // The watcher's first cursor: nobody is told of it.
    sqlx::query("INSERT INTO chain_cursors (chain, height, hash, base_height) VALUES ($1, 7, '0x07', 7)")
        .bind(chain().as_str())
        .execute(&database.pool)
        .await
        .unwrap();
    note_watched(&database.pool, &asset().id).await;
    until(&catalog, "the chain to be open", |now| now.get("ethereum").is_some() && !now.awaits_watchers()).await;
    assert_eq!(catalog.current().closed(&chain(), &native), None);
    let again = elsewhere.execute_chain(command, &metadata()).await.unwrap_err();
    assert!(matches!(again, ExecuteError::Domain(ChainError::AlreadyAdded { .. })), "{again}");

    token.cancel();
    watching.await.unwrap();
    following.await.unwrap();
}

#[tokio::test]
async fn of_two_tokens_with_one_symbol_the_first_stays() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let contracts = (0..8).map(|number| format!("0x{number:040x}"));
    let tokens = contracts.map(|contract| Asset { id: AssetId::token(&chain(), &contract).unwrap(), ..asset() });
    let outcomes = join_all(tokens.map(|token| add(&ledger, token))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let taken = |outcome: &Result<_, _>| matches!(outcome, Err(ExecuteError::Domain(ChainError::SymbolTaken { .. })));
    assert_eq!(outcomes.iter().filter(|outcome| taken(outcome)).count(), 7, "{outcomes:?}");
    assert_eq!(ledger.chains().await.unwrap()[&chain()].added.len(), 1);
    assert_whole(&database.pool).await;
}

#[tokio::test]
async fn a_configuration_that_contradicts_the_ledger_gives_no_catalogue() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    add(&ledger, asset()).await.unwrap();
    let mut spec = configured().get("ethereum").unwrap().clone();
    spec.assets.push(Asset { decimals: 18, ..asset() });
    let refused = ledger.catalog(&ChainCatalog::new([spec])).await.unwrap_err();
    assert!(matches!(refused, CatalogError::Differs(_)), "{refused}");
}

#[tokio::test]
async fn what_exists_is_found_without_opening_anything() {
    let database = wopay_testkit::database().await;
    let ledger = ledger(&database.pool);
    let merchant = merchant_id();
    let wanted = create(merchant, "order");
    let claim = |key: &str| IdempotencyClaim { key: key.to_owned(), request_hash: "hash".to_owned() };
    assert_eq!(ledger.existing_payment(&wanted, Some(claim("a"))).await.unwrap(), None);
    ledger.create_payment(wanted.clone(), &metadata(), Some(claim("a"))).await.unwrap();
    for key in [None, Some(claim("a")), Some(claim("b"))] {
        let again = create(merchant, "order");
        let found = ledger.existing_payment(&again, key).await.unwrap();
        assert!(matches!(found, Some(Created::Existing { payment }) if payment.id == wanted.payment_id));
    }
    let mut other = create(merchant, "order");
    other.terms.expires_at += Duration::from_secs(1);
    let refused = ledger.existing_payment(&other, None).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::OrderConflict { payment_id } if payment_id == wanted.payment_id));
    assert_eq!(ledger.existing_payment(&create(merchant_id(), "order"), None).await.unwrap(), None);
}
