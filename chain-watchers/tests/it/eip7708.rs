//! Native transfers that the chain itself logs (EIP-7708). No node here has that fork: the logs are put into a real node's
//! answers by the proxy, as the proposal describes them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use wopay_chain_watchers::Traces;
use wopay_domain::DepositLeg;
use wopay_domain::payment::PaymentStatus;

use crate::support::proxy::{Instead, Proxy};
use crate::support::{World, native};

const LOGGER: &str = "0xfffffffffffffffffffffffffffffffffffffffe";
const TRANSFER: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";

#[derive(Clone)]
struct Sent {
    transaction: String,
    block: u64,
    block_hash: String,
    from: String,
    to: String,
    wei: u128,
}

impl Sent {
    fn log(&self) -> Value {
        let topic = |address: &str| format!("0x{:0>64}", &address[2..]);
        json!({
            "address": LOGGER, "topics": [TRANSFER, topic(&self.from), topic(&self.to)],
            "data": format!("{:#066x}", self.wei), "blockHash": self.block_hash, "blockNumber": format!("{:#x}", self.block),
            "transactionHash": self.transaction, "transactionIndex": "0x0", "logIndex": "0x0", "removed": false,
        })
    }
}

/// From that block on, the node logs what was sent.
fn fork(proxy: &Proxy, from_block: u64, sent: Arc<Mutex<Vec<Sent>>>) {
    proxy.script(move |method, params, mut answer| {
        let sent = sent.lock().unwrap();
        let logged: Vec<&Sent> = sent.iter().filter(|sent| sent.block >= from_block).collect();
        match method {
            "eth_getLogs" => {
                let filter = &params[0];
                let asked = filter["address"].as_array().unwrap().iter().any(|address| address == LOGGER);
                let logs = answer["result"].as_array_mut().unwrap();
                let fits =
                    |sent: &&&Sent| asked && filter["blockHash"].as_str().is_none_or(|hash| hash == sent.block_hash);
                logs.extend(logged.iter().filter(fits).map(|sent| sent.log()));
            }
            "eth_getTransactionReceipt" => {
                let hash = params[0].as_str().unwrap();
                let logs = logged.iter().filter(|sent| sent.transaction == hash).map(|sent| sent.log());
                answer["result"]["logs"].as_array_mut().unwrap().extend(logs);
            }
            _ => return Instead::Nothing,
        }
        Instead::Json(answer)
    });
}

#[tokio::test]
async fn from_the_fork_on_native_money_is_in_the_logs_and_nowhere_else() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let payer = world.anvil.accounts[1].clone();
    let hour = Duration::from_secs(3600);
    let (payment, address) = world.book.open(&native(), 500, 1, hour).await;
    let send = async |wei: u128| {
        let receipt = world.anvil.send_native(&payer, &address, wei).await;
        let (transaction, block, block_hash) = (receipt.hash, receipt.block, receipt.block_hash);
        Sent { transaction, block, block_hash, from: payer.clone(), to: address.clone(), wei }
    };
    let before = send(200).await;
    let after = send(300).await;
    fork(&proxy, after.block, Arc::new(Mutex::new(vec![before.clone(), after.clone()])));
    let mut config = world.config();
    config.rpc = vec![proxy.url.parse().unwrap()];
    config.evm.eip7708_block = Some(after.block);
    config.evm.traces = Traces::Debug;
    let _watching = world.watch_with(&config);
    let state = world.book.until_status(payment, PaymentStatus::Completed).await;
    world.caught_up().await;
    let mut found: Vec<_> = state
        .deposits
        .iter()
        .map(|(key, deposit)| (key.transaction.clone(), key.leg.clone(), deposit.amount.minor()))
        .collect();
    found.sort_by_key(|(.., minor)| *minor);
    assert_eq!(
        found,
        [(before.transaction, DepositLeg::Native, 200), (after.transaction, DepositLeg::Log(0), 300)],
        "each once: by its value below the fork, by its log from there on"
    );
}

#[tokio::test]
async fn without_the_setting_such_logs_are_not_looked_at() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.anvil.url).await;
    let (payment, address) = world.book.open(&native(), 200, 1, Duration::from_secs(3600)).await;
    let payer = world.anvil.accounts[1].clone();
    let receipt = world.anvil.send_native(&payer, &address, 200).await;
    let (transaction, block, block_hash) = (receipt.hash, receipt.block, receipt.block_hash);
    let sent = Sent { transaction, block, block_hash, from: payer, to: address, wei: 200 };
    fork(&proxy, 0, Arc::new(Mutex::new(vec![sent])));
    let mut config = world.config();
    config.rpc = vec![proxy.url.parse().unwrap()];
    let _watching = world.watch_with(&config);
    let state = world.book.until_status(payment, PaymentStatus::Completed).await;
    world.caught_up().await;
    assert_eq!(state.deposits.keys().map(|key| key.leg.clone()).collect::<Vec<_>>(), [DepositLeg::Native]);
}
