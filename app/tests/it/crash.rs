//! `kill -9` at random moments, under a load of payments and deposits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use wopay_testkit::{Anvil, Mining, Token, eventually};

use rand::{Rng as _, SeedableRng as _};

use crate::gateway::client;
use crate::projections::rows;
use crate::shop::{PATIENCE, Shop, id_and_address};

const KILLS: u32 = 50;
/// Until all is settled after the last start.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);
/// Transfers that the payer leaves to themselves.
const TRANSFERS_IN_FLIGHT: usize = 60;
/// Token units of each payment.
const AMOUNT: u128 = 10_000_000;

/// A merchant's server that creates payments and repeats what was not answered.
struct Customer<'a> {
    url: String,
    api_key: String,
    client: reqwest::Client,
    stop: &'a AtomicBool,
}

impl Customer<'_> {
    /// Creates payments one after another, each with its order id until it is answered, and hands them to the payer.
    async fn shop(&self, name: u32, to_pay: &mpsc::Sender<(String, String)>) {
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            number += 1;
            let payment = self.order(&format!("{name}-{number}")).await;
            to_pay.send(id_and_address(&payment)).await.unwrap();
        }
    }

    async fn order(&self, order_id: &str) -> Value {
        let body = json!({ "order_id": order_id, "amount": "10", "currency": "USDT", "blockchain": "ethereum" });
        eventually(&format!("order {order_id}"), PATIENCE, async || {
            let request = self.client.post(format!("{}/api/v1/payments", self.url)).bearer_auth(&self.api_key);
            let response = request.json(&body).send().await.ok()?;
            let status = response.status().as_u16();
            let answer: Value = response.json().await.ok()?;
            assert!(matches!(status, 200 | 201 | 503), "{status}: {answer}");
            (status < 300).then_some(answer)
        })
        .await
    }
}

/// A transfer on its way: transaction, receiver, token units.
type Transfer = (String, String, u128);

/// Pays every payment: every third in two parts. Looks after its transfers now and then, as a wallet does, so that the
/// load is what the chain takes.
async fn pay(chain: &Anvil, token: &Token, mut orders: mpsc::Receiver<(String, String)>) -> BTreeMap<String, String> {
    let payer = chain.accounts[1].clone();
    let mut paid = BTreeMap::new();
    let mut sent: Vec<Transfer> = Vec::new();
    while let Some((id, address)) = orders.recv().await {
        let parts: &[u128] = if paid.len() % 3 == 0 { &[4_000_000, 6_000_000] } else { &[AMOUNT] };
        for part in parts {
            let hash = chain.submit(&payer, &token.transfer(&address, *part)).await;
            sent.push((hash, address.clone(), *part));
        }
        paid.insert(id, address);
        if sent.len() >= TRANSFERS_IN_FLIGHT {
            look_after(chain, token, &mut sent).await;
        }
    }
    look_after(chain, token, &mut sent).await;
    paid
}

/// Waits until every transfer is in a block. One that the node has dropped from its pool is sent again.
async fn look_after(chain: &Anvil, token: &Token, sent: &mut Vec<Transfer>) {
    let payer = chain.accounts[1].clone();
    eventually("every transfer to be in a block", SETTLED_WITHIN, async || {
        let mut waiting = Vec::new();
        for (hash, address, part) in sent.drain(..) {
            if chain.receipt(&hash).await.is_some() {
                continue;
            }
            let dropped = chain.rpc("eth_getTransactionByHash", json!([hash])).await.is_null();
            let hash = if dropped { chain.submit(&payer, &token.transfer(&address, part)).await } else { hash };
            waiting.push((hash, address, part));
        }
        *sent = waiting;
        sent.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_lose_nothing_and_double_nothing() {
    let mut shop = Shop::open(Mining::Every(Duration::from_millis(1000))).await;
    // Random as the clock is; printed, though a run cannot be repeated to the microsecond.
    let seed = u64::from(std::process::id()) ^ std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos() as u64;
    println!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);

    let stop = AtomicBool::new(false);
    let (orders, to_pay) = mpsc::channel(8);
    let customer =
        || Customer { url: shop.gateway.url.clone(), api_key: shop.api_key.clone(), client: client(), stop: &stop };
    let (first, second) = (customer(), customer());
    let customers = async {
        tokio::join!(first.shop(1, &orders), second.shop(2, &orders));
        drop(orders);
    };
    let gateway = &mut shop.gateway;
    let killer = async {
        for _ in 0..KILLS {
            // Some die while they start, some under load.
            let moment = Duration::from_millis(random.random_range(50..2500));
            tokio::time::sleep(moment).await;
            gateway.kill();
            gateway.launch(&[]);
        }
        gateway.ready().await;
        stop.store(true, Ordering::Relaxed);
    };
    let (paid, (), ()) = tokio::join!(pay(&shop.chain, &shop.token, to_pay), customers, killer);
    let chain = &shop.chain;
    println!("{} payments under {KILLS} kills", paid.len());
    assert!(paid.len() > 50, "the load was no load: {} payments", paid.len());

    let pool = &shop.database.pool;
    let count = i64::try_from(paid.len()).unwrap();
    eventually("every payment to be completed", SETTLED_WITHIN, async || {
        let completed: i64 = sqlx::query_scalar("SELECT count(*) FROM payments WHERE status = 'completed'")
            .fetch_one(pool)
            .await
            .unwrap();
        (completed == count).then_some(())
    })
    .await;
    eventually("a webhook for every payment", SETTLED_WITHIN, async || {
        let told: std::collections::BTreeSet<String> = shop
            .receiver
            .received()
            .iter()
            .map(wopay_testkit::Received::json)
            .filter(|body| body["event"] == "payment.completed")
            .map(|body| body["payment_id"].as_str().unwrap().to_owned())
            .collect();
        paid.keys().all(|id| told.contains(id)).then_some(())
    })
    .await;
    assert_eq!(shop.gateway.stop().await, 0);

    // Dense positions, and every one of them in the projections.
    let (head, events, newest, applied): (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT position FROM ledger_head), (SELECT count(*) FROM events), (SELECT max(position) FROM events),
                (SELECT position FROM follower_checkpoints WHERE name = 'projections')",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!((events, newest, applied), (head, head, head));

    // One payment for each order, whatever was repeated; flags would tell of money counted twice.
    let (payments, flagged): (i64, i64) =
        sqlx::query_as("SELECT count(*), count(*) FILTER (WHERE amount_received_minor <> amount_minor) FROM payments")
            .fetch_one(pool)
            .await
            .unwrap();
    assert_eq!((payments, flagged), (count, 0));

    // The books agree with the chain.
    let mut on_chain = 0;
    for address in paid.values() {
        on_chain += chain.token_balance(&shop.token, address).await;
    }
    assert_eq!(on_chain, AMOUNT * u128::try_from(count).unwrap());
    let balances: Vec<(String, String)> = sqlx::query_as(
        "SELECT account, abs(posted_debit_minor - posted_credit_minor)::text FROM account_balances ORDER BY account",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let expected = on_chain.to_string();
    let accounts = ["custody:ethereum".to_owned(), format!("merchant:{}:payable", shop.merchant_id)];
    assert_eq!(balances, accounts.map(|account| (account, expected.clone())));

    let live = rows(pool).await;
    shop.gateway.run_json(&["projections", "rebuild", "--json"]);
    assert_eq!(rows(pool).await, live, "a rebuild gives other rows");
}
