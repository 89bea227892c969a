//! Solana, from POST to webhook, on a real runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use wopay_testkit::{SplToken, Surfpool, TokenProgram, eventually, surfpool};

use crate::projections::rows;
use crate::shop::{PATIENCE, Shop};

const LAMPORTS: u64 = 1_000_000_000;
const KILLS: u32 = 10;
/// Payments that are made between two kills.
const PAYMENTS_A_KILL: u32 = 3;
/// Until all is settled after the last start.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// How the cluster is watched.
const BLOCKS: &str = "mode = \"blocks\"";
const ADDRESSES: &str = "mode = \"addresses\"\naddresses_every_s = 1";

type SolanaShop = Shop<Surfpool, SplToken>;

async fn open(mode: &str) -> SolanaShop {
    let network = surfpool().await;
    let usdc = network.mint(6, TokenProgram::Token).await;
    let table = format!(
        r#"
kind = "solana"
genesis_hash = "{}"
rpc = ["{}"]
finality = {{ confirmations = 1 }}
native = {{ symbol = "SOL", decimals = 9 }}
poll_interval_ms = 50
{mode}
[[chains.solana.tokens]]
symbol = "USDC"
mint = "{}"
decimals = 6
"#,
        network.genesis_hash().await,
        network.url,
        usdc.mint
    );
    Shop::on(network, usdc, "solana", &table).await
}

/// The `id` and `payment_address` of a created payment.
fn id_and_address(payment: &Value) -> (String, String) {
    let text = |name: &str| payment[name].as_str().expect(name).to_owned();
    (text("id"), text("payment_address"))
}

#[tokio::test(flavor = "multi_thread")]
async fn sol_and_a_token_are_paid_and_told() {
    let shop = open(BLOCKS).await;
    let (in_sol, in_usdc) =
        (shop.create("SOL-1", "1.5", "SOL", 3600).await, shop.create("USDC-1", "20.25", "USDC", 3600).await);
    let (sol, sol_address) = id_and_address(&in_sol);
    let (usdc, usdc_address) = id_and_address(&in_usdc);
    let uri = in_sol["payment_uri"].as_str().unwrap();
    assert!(uri.starts_with(&format!("solana:{sol_address}?amount=1.500000000&reference=")), "{uri}");
    let uri = in_usdc["payment_uri"].as_str().unwrap();
    let expected = format!("solana:{usdc_address}?amount=20.250000&spl-token={}&reference=", shop.token.mint);
    assert!(uri.starts_with(&expected), "{uri}");
    assert_eq!(
        shop.create("SOL-1", "1.5", "SOL", 3600).await["payment_uri"],
        in_sol["payment_uri"],
        "repeated, the same"
    );

    shop.chain.pay(&sol_address, LAMPORTS).await;
    let last = shop.chain.pay(&sol_address, LAMPORTS / 2).await;
    let token_paid = shop.chain.pay_token(&shop.token, &usdc_address, 20_250_000).await;
    for (payment, transaction) in [(&sol, &last), (&usdc, &token_paid)] {
        let told = shop.webhook(payment, "payment.completed").await.json();
        assert_eq!((&told["transaction_hash"], &told["status"]), (&json!(transaction), &json!("completed")), "{told}");
        let read = shop.payment(payment).await;
        let transactions = read["transactions"].as_array().unwrap();
        assert!(transactions.iter().all(|one| one["from"] == shop.chain.payer()), "{read}");
    }
    assert_eq!(shop.payment(&sol).await["transactions"].as_array().unwrap().len(), 2);
    assert_eq!(
        shop.payment(&usdc).await["transactions"].as_array().unwrap().len(),
        1,
        "rent of the account is no payment"
    );
    eventually("the balances", PATIENCE, async || {
        let balances = shop.get("/api/v1/balances").await;
        let available: BTreeMap<&str, &str> = balances["data"]
            .as_array()?
            .iter()
            .map(|one| (one["currency"].as_str().unwrap(), one["available"].as_str().unwrap()))
            .collect();
        (available == BTreeMap::from([("SOL", "1.500000000"), ("USDC", "20.250000")])).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_and_its_mints_are_checked() {
    let shop = open(ADDRESSES).await;
    let reports = shop.gateway.run_json(&["chains", "check", "--json"]);
    let endpoint = &reports[0]["endpoints"][0];
    assert_eq!(endpoint["genesis_hash"], shop.chain.genesis_hash().await);
    assert_eq!((&endpoint["problems"], &endpoint["tokens"][0]["decimals"]), (&json!([]), &json!(6)), "{reports}");
    assert!(endpoint["finalized"].as_u64() < endpoint["head"].as_u64(), "{reports}");

    let mainnet = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d";
    let wrong = [("WOPAY_CHAINS_SOLANA_GENESIS_HASH", mainnet)];
    let output = shop.gateway.run_with(&["chains", "check"], &wrong);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("solana at 127.0.0.1") && text.contains(&format!("configured is {mainnet}")), "{text}");
}

/// What was paid to an address: of the token, or lamports.
struct Paid {
    address: String,
    is_token: bool,
    minor: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_and_double_nothing() {
    kill_while_money_comes(BLOCKS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_and_double_nothing_where_addresses_are_asked_about() {
    kill_while_money_comes(ADDRESSES).await;
}

async fn kill_while_money_comes(mode: &str) {
    let mut shop = open(mode).await;
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut paid = BTreeMap::new();
    for kill in 0..KILLS {
        for number in 0..PAYMENTS_A_KILL {
            let is_token = number % 2 == 1;
            let order = format!("ORDER-{kill}-{number}");
            let created = shop.create(&order, "3", if is_token { "USDC" } else { "SOL" }, 3600).await;
            let (id, address) = id_and_address(&created);
            let parts: &[u64] = if number == 2 { &[1, 2] } else { &[3] };
            for part in parts {
                if is_token {
                    shop.chain.pay_token(&shop.token, &address, part * 1_000_000).await;
                } else {
                    shop.chain.pay(&address, part * LAMPORTS).await;
                }
            }
            let minor = if is_token { 3_000_000 } else { 3 * LAMPORTS };
            paid.insert(id, Paid { address, is_token, minor });
        }
        // From "just confirmed" to "final, and perhaps told": some 650 ms lie between.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
        shop.gateway.kill();
        shop.gateway.launch(&[]);
    }
    shop.gateway.ready().await;
    let told = || -> BTreeMap<String, BTreeSet<String>> {
        let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for request in shop.receiver.received() {
            let body = request.json();
            if body["event"] == "payment.completed" {
                let payment = body["payment_id"].as_str().unwrap().to_owned();
                told.entry(payment).or_default().insert(request.header("webhook-id").to_owned());
            }
        }
        told
    };
    eventually("a webhook for every payment", SETTLED_WITHIN, async || {
        paid.keys().all(|id| told().contains_key(id)).then_some(())
    })
    .await;
    // Who is told and what is shown follow the ledger each at its own pace.
    eventually("every payment to be shown", SETTLED_WITHIN, async || {
        let open: i64 = sqlx::query_scalar("SELECT count(*) FROM payments WHERE status <> 'completed'")
            .fetch_one(&shop.database.pool)
            .await
            .unwrap();
        (open == 0).then_some(())
    })
    .await;
    assert_eq!(shop.gateway.stop().await, 0);
    assert!(told().values().all(|messages| messages.len() == 1), "told once, repeated at most: {:?}", told());
    books_are_the_chain(&shop, &paid).await;

    let live = rows(&shop.database.pool).await;
    shop.gateway.run_json(&["projections", "rebuild", "--json"]);
    assert_eq!(rows(&shop.database.pool).await, live, "a rebuild gives other rows");
}

/// Each payment has exactly what was asked for, and the books hold what the chain holds.
async fn books_are_the_chain(shop: &SolanaShop, paid: &BTreeMap<String, Paid>) {
    let pool = &shop.database.pool;
    let (payments, odd): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE amount_received_minor <> amount_minor OR status <> 'completed')
         FROM payments",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!((payments, odd), (i64::try_from(paid.len()).unwrap(), 0));

    let (mut lamports, mut tokens) = (0, 0);
    for Paid { address, is_token, minor } in paid.values() {
        let held = if *is_token {
            shop.chain.token_balance(&shop.token, address).await
        } else {
            shop.chain.balance(address).await
        };
        assert_eq!(held, *minor, "{address}");
        *(if *is_token { &mut tokens } else { &mut lamports }) += held;
    }
    let balances: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT account, asset, abs(posted_debit_minor - posted_credit_minor)::text FROM account_balances
         ORDER BY account, asset",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let assets = [(format!("solana/{}", shop.token.mint), tokens), ("solana/native".to_owned(), lamports)];
    let mut expected = Vec::new();
    for account in ["custody:solana".to_owned(), format!("merchant:{}:payable", shop.merchant_id)] {
        expected.extend(assets.iter().map(|(asset, minor)| (account.clone(), asset.clone(), minor.to_string())));
    }
    expected.sort();
    assert_eq!(balances, expected);
}
