#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use chrono::DateTime;
use cqrs_es::DomainEvent as _;

use super::{AddChain, AddToken, Chain, ChainCommand, ChainError, ChainEvent, REASON_CHARS_MAX, decide, evolve};
use crate::money::{Asset, AssetId, Money};
use crate::{ChainFamily, ChainName, Timestamp};

const USDT: &str = "0x55d398326f99059ff775485246999027b3197955";
const OTHER: &str = "0x8ac76a51cc950d9822d68b83fe1ad97b32cd580d";

fn at(second: i64) -> Timestamp {
    DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
}

fn bsc() -> ChainName {
    "bsc".parse().unwrap()
}

fn token(contract: &str, symbol: &str, decimals: u8) -> Asset {
    Asset { id: AssetId::token(&bsc(), contract).unwrap(), symbol: symbol.to_owned(), decimals }
}

fn native() -> Asset {
    Asset { id: AssetId::native(&bsc()), symbol: "BNB".to_owned(), decimals: 18 }
}

fn add(token: Asset) -> ChainCommand {
    add_beside(token, vec![native()])
}

fn add_beside(token: Asset, configured: Vec<Asset>) -> ChainCommand {
    ChainCommand::AddToken(AddToken { chain: bsc(), token, min_deposit: None, configured, at: at(0) })
}

fn add_chain(assets: Vec<Asset>) -> AddChain {
    AddChain {
        chain: bsc(),
        family: ChainFamily::Evm,
        chain_id: Some(56),
        genesis_hash: None,
        assets,
        required_confirmations: 15,
        reason: Some("customers ask for it".to_owned()),
        at: at(5),
    }
}

fn pause(reason: &str) -> ChainCommand {
    ChainCommand::Pause { chain: bsc(), reason: reason.to_owned(), at: at(1) }
}

fn pause_token(asset: AssetId, reason: &str) -> ChainCommand {
    ChainCommand::PauseToken { chain: bsc(), asset, reason: reason.to_owned(), at: at(2) }
}

fn resume() -> ChainCommand {
    ChainCommand::Resume { chain: bsc(), at: at(3) }
}

fn resume_token(asset: AssetId) -> ChainCommand {
    ChainCommand::ResumeToken { chain: bsc(), asset, at: at(4) }
}

/// Applies the commands; the names of the events of the last one.
fn when(commands: Vec<ChainCommand>) -> (Chain, Result<Vec<&'static str>, ChainError>) {
    let mut chain = Chain::default();
    let mut last = Ok(Vec::new());
    for command in commands {
        last = decide(&chain, command).map(|events| {
            let names = events.iter().map(ChainEvent::name).collect();
            events.into_iter().for_each(|event| evolve(&mut chain, event));
            names
        });
    }
    (chain, last)
}

#[test]
fn a_chain_is_added_once_and_with_what_it_accepts() {
    let (usdt, bnb) = (token(USDT, "USDT", 18), native());
    let add_it = || ChainCommand::Add(add_chain(vec![bnb.clone(), usdt.clone()]));
    let (chain, events) = when(vec![add_it()]);
    assert_eq!(events, Ok(vec!["ChainAdded"]));
    let accepted = chain.accepted.unwrap();
    assert_eq!((accepted.chain_id, &accepted.assets), (Some(56), &vec![bnb.clone(), usdt.clone()]));
    assert_eq!(when(vec![add_it(), add_it()]).1, Err(ChainError::AlreadyAdded { chain: bsc(), at: at(5) }));
    assert_eq!(when(vec![add(usdt.clone()), add_it()]).1, Err(ChainError::AlreadyConfigured { chain: bsc() }));
    // A chain may be added while it is paused; and what it was added with is not added again.
    assert_eq!(when(vec![pause("later"), add_it()]).1, Ok(vec!["ChainAdded"]));
    assert_eq!(when(vec![add_it(), add_beside(usdt.clone(), Vec::new())]).1, Ok(vec![]));
    let taken = Err(ChainError::SymbolTaken { symbol: "bnb".to_owned(), holder: bnb.id.clone() });
    assert_eq!(when(vec![add_it(), add_beside(token(OTHER, "bnb", 18), Vec::new())]).1, taken);
}

#[test]
fn what_cannot_be_a_chain_is_refused() {
    let usdt = token(USDT, "USDT", 18);
    let whole = add_chain(vec![native(), usdt.clone()]);
    let refused = |add: AddChain| when(vec![ChainCommand::Add(add)]).1.unwrap_err();
    let identity = ChainError::Identity { chain: bsc() };
    assert_eq!(refused(AddChain { chain_id: None, ..whole.clone() }), identity);
    assert_eq!(refused(AddChain { family: ChainFamily::Solana, ..whole.clone() }), identity);
    assert_eq!(refused(AddChain { required_confirmations: 0, ..whole.clone() }), ChainError::NoConfirmation);
    assert_eq!(refused(AddChain { reason: Some(" ".to_owned()), ..whole.clone() }), ChainError::Reason);
    for assets in [vec![], vec![usdt.clone()], vec![native(), native()], vec![usdt.clone(), native()]] {
        assert_eq!(refused(AddChain { assets, ..whole.clone() }), ChainError::NoNative { chain: bsc() });
    }
    let with = |asset: Asset| refused(add_chain(vec![native(), usdt.clone(), asset]));
    assert_eq!(with(usdt.clone()), ChainError::Twice { asset: usdt.id.clone() });
    assert_eq!(
        with(token(OTHER, "USDT", 18)),
        ChainError::SymbolTaken { symbol: "USDT".to_owned(), holder: usdt.id.clone() }
    );
    assert_eq!(with(token(OTHER, "USDC", 39)), ChainError::Decimals { decimals: 39 });
    let elsewhere = Asset { id: format!("ethereum/{OTHER}").parse().unwrap(), ..token(OTHER, "USDC", 6) };
    assert!(matches!(with(elsewhere), ChainError::NotAToken { .. }));
}

#[test]
fn a_token_is_added_once() {
    let usdt = token(USDT, "USDT", 18);
    let (chain, events) = when(vec![add(usdt.clone())]);
    assert_eq!(events, Ok(vec!["TokenAdded"]));
    assert_eq!(chain.added[0].token, usdt);
    let (again, events) = when(vec![add(usdt.clone()), add(usdt.clone())]);
    assert_eq!((again, events), (chain, Ok(vec![])));
    assert_eq!(when(vec![add_beside(usdt.clone(), vec![usdt])]).1, Ok(vec![]), "it is in the configuration");
}

#[test]
fn a_token_keeps_its_symbol_and_its_decimals() {
    let usdt = token(USDT, "USDT", 18);
    let (asset, symbol) = (usdt.id.clone(), "USDT".to_owned());
    let other_symbol = Err(ChainError::OtherSymbol { asset: asset.clone(), symbol });
    let other_decimals = Err(ChainError::OtherDecimals { asset, decimals: 18 });
    assert_eq!(when(vec![add(usdt.clone()), add(token(USDT, "BSC-USD", 18))]).1, other_symbol);
    assert_eq!(when(vec![add(usdt.clone()), add(token(USDT, "USDT", 6))]).1, other_decimals);
    assert_eq!(when(vec![add_beside(token(USDT, "USDT", 6), vec![usdt])]).1, other_decimals);
}

#[test]
fn a_symbol_names_one_asset() {
    let usdt = token(USDT, "USDT", 18);
    let taken = |symbol: &str, holder: &Asset| {
        Err(ChainError::SymbolTaken { symbol: symbol.to_owned(), holder: holder.id.clone() })
    };
    assert_eq!(when(vec![add(usdt.clone()), add(token(OTHER, "usdt", 18))]).1, taken("usdt", &usdt));
    assert_eq!(when(vec![add(token(OTHER, "bnb", 18))]).1, taken("bnb", &native()));
}

#[test]
fn what_is_no_token_of_the_chain_is_refused() {
    let elsewhere = Asset { id: format!("ethereum/{USDT}").parse().unwrap(), ..token(USDT, "USDT", 18) };
    assert!(matches!(when(vec![add(elsewhere.clone())]).1, Err(ChainError::NotAToken { .. })));
    assert!(matches!(when(vec![add(native())]).1, Err(ChainError::NotAToken { .. })));
    assert!(matches!(when(vec![pause_token(elsewhere.id.clone(), "x")]).1, Err(ChainError::NotAToken { .. })));
    assert!(matches!(when(vec![resume_token(elsewhere.id)]).1, Err(ChainError::NotAToken { .. })));
    for symbol in ["", "ELEVENCHARS", "US DT", "ÜSD"] {
        assert!(matches!(when(vec![add(token(USDT, symbol, 18))]).1, Err(ChainError::Symbol { .. })), "{symbol}");
    }
    assert_eq!(when(vec![add(token(USDT, "USDT", 39))]).1, Err(ChainError::Decimals { decimals: 39 }));
}

#[test]
fn a_chain_is_paused_and_resumed() {
    let (chain, events) = when(vec![pause("upgrade")]);
    assert_eq!(events, Ok(vec!["ChainPaused"]));
    assert_eq!(chain.paused.unwrap().reason, "upgrade");
    assert_eq!(when(vec![pause("upgrade"), pause("upgrade")]).1, Ok(vec![]));
    assert_eq!(when(vec![pause("upgrade"), pause("attack")]).1, Ok(vec!["ChainPaused"]), "another reason is news");
    assert_eq!(when(vec![resume()]).1, Ok(vec![]));
    let (chain, events) = when(vec![pause("upgrade"), resume()]);
    assert_eq!((chain, events), (Chain::default(), Ok(vec!["ChainResumed"])));
}

#[test]
fn an_asset_is_paused_and_resumed_by_itself() {
    for asset in [native().id, token(USDT, "USDT", 18).id] {
        let (chain, events) = when(vec![pause_token(asset.clone(), "depeg")]);
        assert_eq!(events, Ok(vec!["TokenPaused"]));
        assert!(chain.paused.is_none() && chain.paused_assets.contains_key(&asset));
        assert_eq!(when(vec![pause_token(asset.clone(), "depeg"), pause_token(asset.clone(), "depeg")]).1, Ok(vec![]));
        let (chain, events) = when(vec![pause_token(asset.clone(), "depeg"), pause("x"), resume_token(asset.clone())]);
        assert_eq!(events, Ok(vec!["TokenResumed"]));
        assert!(chain.paused.is_some() && chain.paused_assets.is_empty());
        assert_eq!(when(vec![resume_token(asset)]).1, Ok(vec![]));
    }
}

#[test]
fn a_reason_is_short_and_printable() {
    for reason in ["", " ", "a\nb", &"x".repeat(REASON_CHARS_MAX + 1)] {
        assert_eq!(when(vec![pause(reason)]).1, Err(ChainError::Reason), "{reason:?}");
        assert_eq!(when(vec![pause_token(native().id, reason)]).1, Err(ChainError::Reason), "{reason:?}");
    }
}

#[test]
fn a_token_is_added_with_the_least_that_counts_and_keeps_it() {
    let usdt = token(USDT, "USDT", 18);
    let with = |least: Option<u128>| {
        let min_deposit = least.map(|minor| Money::new(minor, usdt.id.clone()));
        let (token, configured) = (usdt.clone(), vec![native()]);
        ChainCommand::AddToken(AddToken { chain: bsc(), token, min_deposit, configured, at: at(0) })
    };
    let (chain, events) = when(vec![with(Some(500))]);
    assert_eq!(events, Ok(vec!["TokenAdded"]));
    assert_eq!(chain.added[0].min_deposit.as_ref().unwrap().minor(), 500);
    assert_eq!(when(vec![with(Some(500)), with(Some(500))]).1, Ok(vec![]));
    assert_eq!(when(vec![with(Some(500)), with(None)]).1, Ok(vec![]), "nothing else was asked for");
    assert_eq!(when(vec![with(None), with(Some(0))]).1, Ok(vec![]), "everything counts");
    assert_eq!(when(vec![with(Some(0))]).0.added[0].min_deposit, None);
    let stays = Err(ChainError::MinDepositStays { asset: usdt.id.clone() });
    assert_eq!(when(vec![with(Some(500)), with(Some(501))]).1, stays);
    assert_eq!(when(vec![with(None), with(Some(1))]).1, stays);
    let ChainCommand::AddToken(mut known) = with(Some(500)) else { unreachable!() };
    known.configured.push(usdt.clone());
    assert_eq!(when(vec![ChainCommand::AddToken(known.clone())]).1, stays, "the configuration says what counts of it");
    assert_eq!(when(vec![with(Some(500)), ChainCommand::AddToken(known)]).1, Ok(vec![]), "the same command again");
    let ChainCommand::AddToken(mut other) = with(None) else { unreachable!() };
    other.min_deposit = Some(Money::new(1, native().id));
    let refused = Err(ChainError::MinDepositOfOther { asset: usdt.id });
    assert_eq!(when(vec![ChainCommand::AddToken(other)]).1, refused);
}

/// The shapes of today, which stay readable for ever: the golden file has them, behind the older ones.
#[test]
fn events_are_written_as_the_golden_file_says() {
    let usdt = token(USDT, "USDT", 18);
    let commands = [
        ChainCommand::Add(add_chain(vec![native()])),
        pause("node upgrade"),
        resume(),
        pause_token(usdt.id.clone(), "depeg"),
        resume_token(usdt.id.clone()),
        ChainCommand::AddToken(AddToken {
            chain: bsc(),
            min_deposit: Some(Money::new(500, usdt.id.clone())),
            token: usdt,
            configured: Vec::new(),
            at: at(0),
        }),
    ];
    let mut chain = Chain::default();
    let mut written = Vec::new();
    for command in commands {
        for event in decide(&chain, command).unwrap() {
            let (version, payload) = (event.event_version(), serde_json::to_string(&event).unwrap());
            written.push(format!(r#"{{"event_version":"{version}","payload":{payload}}}"#));
            evolve(&mut chain, event);
        }
    }
    let is_current = |line: &&str| !line.starts_with(r#"{"event_version":"1.0","payload":{"TokenAdded""#);
    let golden: Vec<&str> = include_str!("../upcast/golden/chain.jsonl").lines().filter(is_current).collect();
    assert_eq!(written, golden);
}
