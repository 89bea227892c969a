//! Nodes that lie about what is final, or are stuck: money is neither lost nor credited, and somebody is told.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use wopay_chain_watchers::{Agreement, ChainState, ChainWatcher, Final, Progress};
use wopay_domain::payment::PaymentStatus;
use wopay_domain::{Asset, AssetId};
use wopay_testkit::{Call, Contract};

use crate::contracts::open;
use crate::support::proxy::{Instead, Proxy};
use crate::support::told::{ToldWorld, rest};
use crate::support::{World, chain_name, native, token_asset};

/// Steps taken one after the other in which a watcher must have said what is wrong.
const LOOKS_MAX: usize = 64;

/// Looks again and again until the status is like that.
async fn looks_until(watcher: &mut ChainWatcher, what: &str, condition: impl Fn(&ChainState) -> bool) -> String {
    for _ in 0..LOOKS_MAX {
        watcher.advance_once().await;
        let health = watcher.status().health();
        if condition(&health.state) {
            return format!("{health:?}");
        }
    }
    panic!("never {what}: {:?}", watcher.status().health());
}

fn is_behind(state: &ChainState) -> bool {
    matches!(state, ChainState::Behind { .. })
}

fn is_halted(state: &ChainState) -> bool {
    matches!(state, ChainState::Halted { .. })
}

#[tokio::test]
async fn one_false_finalized_height_is_neither_kept_nor_told() {
    let world = ToldWorld::new(20, 8).await;
    let address = world.address().await;
    world.told.script().finalize(15);
    let mut watcher = world.watcher();
    assert_eq!(rest(&mut watcher).await, Progress::Idle);
    // Another chain's, from a proxy that mixed them up, once.
    world.told.script().finality = Some(Final::UpTo(80_000_000));
    rest(&mut watcher).await;
    assert!(world.finalized().await.is_none_or(|height| height <= 20), "{:?}", world.finalized().await);

    let height = 22;
    {
        let mut script = world.told.script();
        script.finalize(16);
        script.grow("a", 30);
        script.pay(height, &address, 1_000);
    }
    rest(&mut watcher).await;
    assert_eq!(world.stage_at(height).await.as_deref(), Some("seen"));
    let before = world.told.script().calls;
    watcher.advance_once().await;
    assert_eq!(world.told.script().calls - before, 1, "a look at a head that stands still is one call");
    world.told.script().finalize(25);
    rest(&mut watcher).await;
    assert_eq!(world.stage_at(height).await.as_deref(), Some("confirmed"));
    assert_eq!(world.finalized().await, Some(25), "what was proven");
}

#[tokio::test]
async fn a_false_finalized_height_that_was_kept_is_forgotten() {
    let world = ToldWorld::new(20, 8).await;
    let address = world.address().await;
    world.told.script().finalize(15);
    rest(&mut world.watcher()).await;
    sqlx::query("UPDATE chain_heads SET finalized_height = 80000000").execute(&world.database.pool).await.unwrap();
    {
        let mut script = world.told.script();
        script.grow("a", 30);
        script.pay(22, &address, 1_000);
        script.finalize(25);
    }
    let mut watcher = world.watcher();
    rest(&mut watcher).await;
    assert_eq!(world.stage_at(22).await.as_deref(), Some("confirmed"));
    assert_eq!(world.finalized().await, Some(25));
    // And a reorganization above is what it always was.
    world.told.script().branch("b", 27, 31);
    rest(&mut watcher).await;
    assert_eq!((world.cursor().await, watcher.status().health().is_well()), (31, true));
}

#[tokio::test]
async fn final_money_is_not_taken_back_because_an_endpoint_is_stuck_on_another_branch() {
    let world = ToldWorld::new(30, 16).await;
    let address = world.address().await;
    {
        let mut script = world.told.script();
        script.pay(20, &address, 1_000);
        script.finalize(25);
    }
    let mut watcher = world.watcher();
    rest(&mut watcher).await;
    assert_eq!(world.stage_at(20).await.as_deref(), Some("confirmed"));
    let canonical = world.told.script().blocks.clone();

    for top in [19, 30, 40] {
        {
            let mut script = world.told.script();
            script.branch("u", 18, top);
            script.finalize(17);
        }
        assert_eq!(rest(&mut watcher).await, Progress::Failed);
        let error = watcher.status().health().last_error.unwrap();
        assert!(error.contains("final") && error.contains("25"), "{error}");
        assert!(!world.told.script().doubts.is_empty(), "another endpoint is asked, if there is one");
        let said = looks_until(&mut watcher, "halted", is_halted).await;
        assert!(said.contains("18") && said.contains("25"), "{said}");
        // Also after a restart.
        watcher = world.watcher();
        looks_until(&mut watcher, "halted again", is_halted).await;
        assert_eq!(world.deposits().await, [(20, "confirmed".to_owned(), "a20".to_owned())]);
        assert_eq!(world.cursor().await, 30);
        // The endpoint is right again, or another one answers.
        {
            let mut script = world.told.script();
            script.blocks = canonical.clone();
            script.finalize(25);
        }
        assert_eq!(rest(&mut watcher).await, Progress::Idle);
        assert!(watcher.status().health().is_well());
    }
    let reports: i64 =
        sqlx::query_scalar("SELECT count(*) FROM watcher_outbox").fetch_one(&world.database.pool).await.unwrap();
    assert_eq!(reports, 1);
}

#[tokio::test]
async fn a_chain_that_fell_below_everything_stored_is_behind_and_one_begun_anew_halts() {
    let world = ToldWorld::new(40, 2).await;
    let mut watcher = world.watcher();
    rest(&mut watcher).await;
    world.told.script().branch("a", 10, 10);
    let said = looks_until(&mut watcher, "behind", is_behind).await;
    assert!(said.contains("10") && said.contains("40"), "{said}");
    {
        let mut script = world.told.script();
        script.blocks.clear();
        script.grow("new", 10);
    }
    let said = looks_until(&mut watcher, "halted", is_halted).await;
    assert!(said.contains("begun anew"), "{said}");
    assert_eq!(world.cursor().await, 40);
}

#[tokio::test]
async fn a_block_that_is_listed_and_never_to_be_had_is_said() {
    let world = ToldWorld::new(30, 8).await;
    world.told.script().has_empty_heights = true;
    let mut watcher = world.watcher();
    rest(&mut watcher).await;
    {
        let mut script = world.told.script();
        script.grow("a", 33);
        script.not_available.insert(31);
    }
    assert_eq!(rest(&mut watcher).await, Progress::Idle);
    assert_eq!(watcher.status().health().lag_blocks(), Some(3), "the lag is shown at once");
    let said = looks_until(&mut watcher, "behind", is_behind).await;
    assert!(said.contains("31"), "{said}");
    world.told.script().not_available.clear();
    rest(&mut watcher).await;
    assert!(watcher.status().health().is_well());
}

#[tokio::test]
async fn who_waits_for_a_token_says_for_which() {
    let world = ToldWorld::new(30, 8).await;
    let mut watcher = world.watcher();
    rest(&mut watcher).await;
    note_as_watched(&world, 31).await;
    world.told.script().grow("a", 31);
    rest(&mut watcher).await;
    let health = watcher.status().health();
    assert!(is_behind(&health.state) && format!("{health:?}").contains(token().id.as_str()), "{health:?}");
    assert_eq!(health.lag_blocks(), Some(1));
}

#[tokio::test]
async fn what_is_final_far_below_the_stored_blocks_proves_nothing_above_it() {
    let world = ToldWorld::new(1200, 2).await;
    let address = world.address().await;
    {
        let mut script = world.told.script();
        script.finalize(0);
        script.pay(1050, &address, 1_000);
    }
    let mut watcher = world.watcher();
    rest(&mut watcher).await;
    // We have read a branch that was given up; the block that is kept below it is of both.
    {
        let mut script = world.told.script();
        script.finalize(1100);
        script.final_instead.extend((1041..=1100).map(|height| (height, format!("b{height}"))));
    }
    rest(&mut watcher).await;
    assert_eq!(world.stage_at(1050).await.as_deref(), Some("seen"));
    world.told.script().final_instead.clear();
    rest(&mut watcher).await;
    assert_eq!(world.stage_at(1050).await.as_deref(), Some("confirmed"), "and it goes on");
    assert!(world.finalized().await.is_some_and(|height| (1050..=1100).contains(&height)));
}

#[tokio::test]
async fn who_is_too_deep_says_where_the_chains_part() {
    let world = ToldWorld::new(1300, 100).await;
    let mut watcher = world.watcher();
    rest(&mut watcher).await;
    world.told.script().branch("b", 1050, 1301);
    let said = looks_until(&mut watcher, "halted", is_halted).await;
    assert!(said.contains("in common is 1024"), "{said}");
    // A node that has forgotten old blocks does not keep the halt from being told.
    world.told.script().forgotten_below = 1150;
    let mut watcher = world.watcher();
    let said = looks_until(&mut watcher, "halted", is_halted).await;
    assert!(said.contains("in common is unknown"), "{said}");
}

fn token() -> Asset {
    let id = AssetId::token(&chain_name(), "0x00000000000000000000000000000000000000aa").unwrap();
    Asset { id, symbol: "USDC".to_owned(), decimals: 6 }
}

async fn note_as_watched(world: &ToldWorld, from_block: i64) {
    sqlx::query("INSERT INTO watched_assets (chain, asset, from_block) VALUES ('ethereum', $1, $2)")
        .bind(token().id.as_str())
        .bind(from_block)
        .execute(&world.database.pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_token_that_is_watched_already_is_taken_whatever_its_contract_says_now() {
    let world = ToldWorld::new(20, 8).await;
    rest(&mut world.watcher_of_tokens()).await;
    note_as_watched(&world, 5).await;
    {
        let mut script = world.told.script();
        script.refused = Some(token().id);
        script.grow("a", 25);
    }
    let mut watcher = world.watcher_of_tokens();
    watcher.added_tokens().set(vec![token()], BTreeMap::new());
    assert_eq!(rest(&mut watcher).await, Progress::Idle);
    assert!(watcher.status().health().is_well());
    assert_eq!(world.cursor().await, 25);
}

#[tokio::test]
async fn a_refused_token_that_others_watch_is_named_with_the_reason() {
    let world = ToldWorld::new(20, 8).await;
    world.told.script().refused = Some(token().id);
    let mut watcher = world.watcher_of_tokens();
    watcher.added_tokens().set(vec![token()], BTreeMap::new());
    assert_eq!(rest(&mut watcher).await, Progress::Idle, "the chain goes on without it");
    note_as_watched(&world, 21).await;
    world.told.script().grow("a", 21);
    rest(&mut watcher).await;
    let health = watcher.status().health();
    let said = format!("{health:?}");
    assert!(is_behind(&health.state), "{said}");
    assert!(said.contains(token().id.as_str()) && said.contains("has no decimals()"), "{said}");
}

#[tokio::test]
async fn sources_are_not_made_at_every_step_while_nobody_answers_about_a_token() {
    let world = ToldWorld::new(20, 8).await;
    world.told.script().unanswered = Some(token().id);
    let mut watcher = world.watcher_of_tokens();
    watcher.added_tokens().set(vec![token()], BTreeMap::new());
    for _ in 0..20 {
        watcher.advance_once().await;
    }
    assert_eq!(world.cursor().await, 20, "the chain goes on");
    assert_eq!(world.told.script().made, 2, "the first one, and one that asked");
}

/// The endpoint in use names the true block, and shows more in a transfer than there is.
#[tokio::test]
async fn a_large_deposit_that_one_endpoint_invents_in_a_true_block_is_held() {
    let world = World::new().await;
    let (first, second) = (Proxy::new(&world.anvil.url).await, Proxy::new(&world.anvil.url).await);
    let mut config = world.config();
    config.rpc = vec![first.url.parse().unwrap(), second.url.parse().unwrap()];
    let above = vec![(token_asset(&world.usdt).id, world.usdt.whole(100))];
    config.agreement = Some(Agreement { providers: 2, above });
    let (true_amount, shown) = (world.usdt.whole(1), world.usdt.whole(500));
    first.script(move |_, _, answer| {
        let text = answer.to_string().replace(&format!("{true_amount:064x}"), &format!("{shown:064x}"));
        Instead::Json(serde_json::from_str(&text).unwrap())
    });
    let watching = world.watch_with(&config);
    world.caught_up().await;
    let (invented, address) = world.payment(500, 1).await;
    world.pay(&address, 1).await;
    let health = watching.until("held", |health| health.held.is_some()).await;
    let held = health.held.unwrap();
    assert!(held.contains("1 of 2 do") && held.contains("has no transfer of 500000000"), "{held}");
    world.book.until_status(invented, PaymentStatus::Confirming).await;

    // What is there for everybody is confirmed.
    let (large, address) = world.payment(300, 1).await;
    world.pay(&address, 300).await;
    world.book.until_status(large, PaymentStatus::Completed).await;
    assert_eq!(world.book.payment(invented).status, PaymentStatus::Confirming);
}

/// Money that comes from a contract shows in no transaction: the endpoints are asked what the address holds.
#[tokio::test]
async fn a_large_balance_that_one_endpoint_invents_is_held() {
    let world = World::new().await;
    let batch = world.anvil.deploy_contract(Contract::Batch).await;
    let (first, second) = (Proxy::new(&world.anvil.url).await, Proxy::new(&world.anvil.url).await);
    let mut config = world.config();
    config.rpc = vec![first.url.parse().unwrap(), second.url.parse().unwrap()];
    config.evm.balances_every = Duration::ZERO;
    config.agreement = Some(Agreement { providers: 2, above: vec![(native().id, 100)] });
    let (invented, empty) = open(&world, 500).await;
    let (large, address) = open(&world, 300).await;
    let of_it = empty.clone();
    first.script(move |method, params, mut answer| match (method, params[0].as_str()) {
        ("eth_getBalance", Some(asked)) if asked == of_it => {
            answer["result"] = json!("0x1f4");
            Instead::Json(answer)
        }
        _ => Instead::Nothing,
    });
    let watching = world.watch_with(&config);
    world.caught_up().await;
    let payer = world.anvil.accounts[1].clone();
    world.anvil.transact(&payer, &Call::batch(&batch, &world.usdt.address, &[], &[(&address, 300)])).await;
    world.book.until_status(large, PaymentStatus::Confirming).await;
    world.book.until_status(invented, PaymentStatus::Confirming).await;
    world.anvil.mine(2).await;
    world.book.until_status(large, PaymentStatus::Completed).await;
    let health = watching.until("held", |health| health.held.is_some()).await;
    let held = health.held.unwrap();
    assert!(held.contains(&format!("says that {empty} holds 0, less than 500")), "{held}");
    assert_eq!(world.book.payment(invented).status, PaymentStatus::Confirming);
}
