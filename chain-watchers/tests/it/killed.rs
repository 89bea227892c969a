//! The whole process is killed, again and again, while money arrives.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;
use wopay_chain_watchers::{ChainWatcher, OutboxPublisher, OutboxSignal, WatcherConfig};
use wopay_domain::payment::PaymentStatus;
use wopay_domain::{ChainFamily, ChainSpec};
use wopay_eventbus::Bus;
use wopay_testkit::Token;

use crate::support::book::live;
use crate::support::{CHAIN_ID, USDT_DECIMALS, World, chain_name, native, token_asset};

const ROUNDS: u32 = 12;

/// Runs in a process of its own, started by the test below: watcher and publisher until it is killed.
#[tokio::test]
#[ignore = "the body of a child process"]
async fn child() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let pool = PgPoolOptions::new().max_connections(5).connect(&variable("CHILD_DATABASE")).await.unwrap();
    let bus = Bus::connect(&variable("CHILD_NATS"), "main").await.unwrap();
    let token = Token { address: variable("CHILD_TOKEN"), decimals: USDT_DECIMALS };
    let spec = ChainSpec {
        min_deposits: std::collections::BTreeMap::new(),
        name: chain_name(),
        family: ChainFamily::Evm,
        chain_id: Some(CHAIN_ID),
        required_confirmations: 3,
        assets: vec![native(), token_asset(&token)],
    };
    let mut config = WatcherConfig::new(spec, vec![variable("CHILD_NODE").parse().unwrap()]);
    config.poll_interval = Duration::from_millis(5);
    let signal = OutboxSignal::default();
    let never = CancellationToken::new();
    let publisher = OutboxPublisher::new(pool.clone(), bus, signal.clone());
    let watcher = ChainWatcher::new(&config, pool, signal).unwrap();
    tokio::join!(watcher.run(never.clone()), publisher.run(never));
}

fn start_child(world: &World) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::child", "--ignored", "--nocapture"])
        .env("CHILD_DATABASE", &world.database.url)
        .env("CHILD_NATS", &world.nats.url)
        .env("CHILD_TOKEN", &world.usdt.address)
        .env("CHILD_NODE", &world.anvil.url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_killed_process_loses_and_doubles_nothing() {
    let world = World::new().await;
    let mut payments = Vec::new();
    for round in 0..ROUNDS {
        let before = world.cursor().await;
        let mut child = start_child(&world);
        // Blocks with deposits keep coming until the moment of the kill, which is another one each round: so long after
        // the child's first step.
        let mut deadline = None;
        while deadline.is_none_or(|deadline| Instant::now() < deadline) {
            let (payment, address) = world.payment(10, 2).await;
            world.pay(&address, 10).await;
            payments.push((payment, address));
            if deadline.is_none() && world.cursor().await != before {
                deadline = Some(Instant::now() + Duration::from_millis(7 * u64::from(round)));
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    world.anvil.mine(3).await;
    let _watching = world.watch();
    for (payment, address) in &payments {
        let state = world.book.until_status(*payment, PaymentStatus::Completed).await;
        assert_eq!(live(&state).len(), 1);
        let on_chain = world.anvil.token_balance(&world.usdt, address).await;
        assert_eq!(state.totals().unwrap().confirmed.minor(), on_chain);
    }
    eprintln!("{} deposits over {ROUNDS} kills", payments.len());
}
