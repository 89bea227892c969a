//! Proof of funds: the ledger beside real chains.

use serde_json::{Value, json};
use wopay_testkit::{Call, Contract, Mining, SplToken, Surfpool, TokenProgram, surfpool};

use crate::gateway::Gateway;
use crate::odd::{listed, spares};
use crate::shop::{CONFIRMATIONS, Shop, id_and_address};

/// Exit code and result of a reconciliation at `block`.
fn reconcile(shop: &Shop, block: u64) -> (i32, Value) {
    reconciled(&shop.gateway, "ethereum", &["--block", &block.to_string()], &[])
}

fn reconciled(gateway: &Gateway, chain: &str, args: &[&str], variables: &[(&str, &str)]) -> (i32, Value) {
    let args = [&["audit", "reconcile", "--chain", chain, "--json"], args].concat();
    let output = gateway.run_with(&args, variables);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let printed = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{stderr}"));
    (output.status.code().unwrap(), printed)
}

fn total<'a>(result: &'a Value, asset: &str) -> &'a Value {
    let totals = result["totals"].as_array().unwrap();
    totals.iter().find(|total| total["asset"].as_str().unwrap().ends_with(asset)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_deposit_and_missing_money_are_found() {
    let shop = Shop::open(Mining::OnDemand).await;
    let payer = shop.payer().to_owned();
    let (paid, paid_address) = id_and_address(&shop.create("PAID", "100", "USDT", 3600).await);
    let (open, open_address) = id_and_address(&shop.create("OPEN", "1", "ETH", 3600).await);
    shop.chain.transfer(&shop.token, &payer, &paid_address, shop.token.whole(100)).await;
    // Native money at the address of a payment for tokens is held, and must be accounted for all the same.
    shop.chain.send_native(&payer, &paid_address, 5_000).await;
    shop.chain.mine(CONFIRMATIONS).await;
    shop.reaches(&paid, "completed").await;
    let seen = shop.chain.transfer(&shop.token, &payer, &paid_address, 7).await.block;
    wopay_testkit::eventually("the surplus", crate::shop::PATIENCE, async || {
        (shop.payment(&paid).await["transactions"].as_array().unwrap().len() >= 2).then_some(())
    })
    .await;

    let (code, balanced) = reconcile(&shop, seen);
    assert_eq!((code, &balanced["differences_total"]), (0, &json!(0)), "{balanced:#}");
    let usdt = total(&balanced, &shop.token.address);
    assert_eq!(
        (&usdt["confirmed"], &usdt["seen"], &usdt["found"]),
        (&json!("100000000"), &json!("7"), &json!("100000007"))
    );
    assert_eq!(total(&balanced, "/native")["confirmed"], "5000");

    // An internal transfer leaves neither a log nor a transaction to us: the watcher cannot see it.
    let batch = shop.chain.deploy_contract(Contract::Batch).await;
    let call = Call::batch(&batch, &shop.token.address, &[], &[(&open_address, 1_000)]);
    let missed = shop.chain.transact(&payer, &call).await;
    assert!(missed.succeeded);
    shop.chain.rpc("anvil_setBalance", json!([paid_address, "0x1"])).await;
    shop.chain.mine(1).await;
    let (code, found) = reconcile(&shop, missed.block + 1);
    assert_eq!((code, &found["differences_total"]), (2, &json!(2)), "{found:#}");
    let differences = found["differences"].as_array().unwrap();
    let of = |address: &str| differences.iter().find(|one| one["address"] == address).unwrap();
    let unrecorded = of(&open_address);
    assert_eq!((&unrecorded["kind"], &unrecorded["payment"]), (&json!("unrecorded"), &json!(open)));
    assert_eq!((&unrecorded["expected"], &unrecorded["found"]), (&json!("0"), &json!("1000")));
    let missing = of(&paid_address);
    assert_eq!((&missing["kind"], &missing["payment"]), (&json!("missing"), &json!(paid)));
    assert_eq!((&missing["expected"], &missing["found"]), (&json!("5000"), &json!("1")));

    // The state before is still to be had, and for people there is a table.
    assert_eq!(reconcile(&shop, seen).0, 0);
    let output = shop.gateway.run(&["audit", "reconcile", "--chain", "ethereum"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(&open_address) && text.contains("not in the ledger") && text.contains(&paid), "{text}");

    let refused = shop.gateway.run(&["audit", "reconcile", "--chain", "ethereum", "--block", "999999"]);
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && stderr.contains("has no block 999999"), "{stderr}");
}

fn of_address<'a>(deposits: &'a [Value], address: &str) -> &'a str {
    let is_it = |deposit: &&Value| deposit["to_address"].as_str().unwrap().eq_ignore_ascii_case(address);
    deposits.iter().find(is_it).unwrap()["deposit"].as_str().unwrap()
}

/// What a total says, in the order `confirmed, unmatched, dust, refunded, left, found`.
fn figures(total: &Value) -> [&str; 6] {
    ["confirmed", "unmatched", "dust", "refunded", "left", "found"].map(|name| total[name].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_money_is_accounted_for() {
    let shop = Shop::open_with(Mining::OnDemand, "min_deposit = \"1\"").await;
    let payer = shop.payer().to_owned();
    let (paid, paid_address) = id_and_address(&shop.create("PAID", "100", "USDT", 3600).await);
    let (other, _) = id_and_address(&shop.create("OTHER", "5", "USDT", 3600).await);
    let [assigned, kept, refunded] = spares(&shop, "evm").await;
    let transfers = [
        (&paid_address, 100_000_000),
        (&paid_address, 500_000),
        (&assigned, 5_000_000),
        (&kept, 3_000_000),
        (&kept, 7),
    ];
    for (address, minor) in transfers {
        shop.chain.transfer(&shop.token, &payer, address, minor).await;
    }
    shop.chain.send_native(&payer, &refunded, 9_000).await;
    shop.chain.mine(CONFIRMATIONS).await;
    shop.reaches(&paid, "completed").await;
    listed(&shop, "dust", 2).await;
    let stray = listed(&shop, "unmatched", 3).await;
    let assign = ["deposits", "assign", of_address(&stray, &assigned), &other, "--reason", "r", "--json"];
    shop.gateway.run_json(&assign);
    let hash = format!("0x{}", "ab".repeat(32));
    let refund =
        ["deposits", "refund", of_address(&stray, &refunded), "--transaction", &hash, "--reason", "r", "--json"];
    shop.gateway.run_json(&refund);

    let (code, balanced) = reconcile(&shop, shop.chain.height().await);
    assert_eq!((code, &balanced["differences"]), (0, &json!([])), "{balanced:#}");
    let usdt = total(&balanced, &shop.token.address);
    assert_eq!(figures(usdt), ["100000000", "8000000", "500007", "0", "0", "108500007"]);
    assert_eq!(figures(total(&balanced, "/native")), ["0", "9000", "0", "9000", "0", "9000"], "paid from elsewhere");
    shop.chain.set_native_balance(&refunded, 0).await;
    shop.chain.mine(1).await;
    let (code, left) = reconcile(&shop, shop.chain.height().await);
    assert_eq!(
        (code, figures(total(&left, "/native"))),
        (0, ["0", "9000", "0", "9000", "9000", "0"]),
        "paid from there"
    );
    let (code, latest) = reconciled(&shop.gateway, "ethereum", &["--block", "latest"], &[]);
    assert_eq!((code, &latest["block"]["number"]), (0, &json!(shop.chain.height().await)));
    let (code, finalized) = reconciled(&shop.gateway, "ethereum", &["--block", "finalized"], &[]);
    let depth = latest["block"]["number"].as_u64().unwrap() - finalized["block"]["number"].as_u64().unwrap();
    assert_eq!((code, depth), (0, CONFIRMATIONS - 1));

    shop.chain.set_native_balance(&refunded, 1).await;
    shop.chain.mine(1).await;
    let (code, found) = reconcile(&shop, shop.chain.height().await);
    let difference = &found["differences"][0];
    assert_eq!((code, &difference["address"], &difference["kind"]), (2, &json!(refunded), &json!("missing")));
    assert_eq!((&difference["expected"], &difference["found"]), (&json!("9000"), &json!("1")), "{found:#}");
}

const SOL: u64 = 1_000_000_000;

/// A cluster with one token of each token program.
async fn solana_shop() -> (Shop<Surfpool, SplToken>, SplToken) {
    let network = surfpool().await;
    let usdc = network.mint(6, TokenProgram::Token).await;
    let eurx = network.mint(2, TokenProgram::Token2022).await;
    let table = format!(
        r#"
kind = "solana"
genesis_hash = "{}"
rpc = ["{}"]
finality = {{ confirmations = 1 }}
native = {{ symbol = "SOL", decimals = 9, min_deposit = "0.01" }}
poll_interval_ms = 50
[[chains.solana.tokens]]
symbol = "USDC"
mint = "{}"
decimals = 6
[[chains.solana.tokens]]
symbol = "EURX"
mint = "{}"
decimals = 2
"#,
        network.genesis_hash().await,
        network.url,
        usdc.mint,
        eurx.mint
    );
    (Shop::on(network, usdc, "solana", &table).await, eurx)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_solana_cluster_is_compared_as_of_the_slot_of_each_answer() {
    let (shop, eurx) = solana_shop().await;
    let create = async |order: &str, amount: &str, currency: &str| {
        let payment = shop.create(order, amount, currency, 3600).await;
        (payment["id"].as_str().unwrap().to_owned(), payment["payment_address"].as_str().unwrap().to_owned())
    };
    let (sol, sol_address) = create("SOL", "1.5", "SOL").await;
    let (usdc, usdc_address) = create("USDC", "20.25", "USDC").await;
    let (euro, euro_address) = create("EURX", "3", "EURX").await;
    let [kept, refunded] = spares(&shop, "solana").await;
    shop.chain.pay(&sol_address, SOL * 3 / 2).await;
    shop.chain.pay(&sol_address, 1_000_000).await;
    shop.chain.pay_token(&shop.token, &usdc_address, 20_000_000).await;
    shop.chain.pay_token_aside(&shop.token, &usdc_address, 250_000).await;
    shop.chain.pay_token(&eurx, &euro_address, 300).await;
    shop.chain.pay_many(&[(&kept, SOL / 10), (&refunded, SOL / 5)]).await;
    for payment in [&sol, &usdc, &euro] {
        shop.reaches(payment, "completed").await;
    }
    listed(&shop, "dust", 1).await;
    let stray = listed(&shop, "unmatched", 2).await;
    let signature = bs58::encode([7; 64]).into_string();
    let refund = of_address(&stray, &refunded);
    shop.gateway.run_json(&["deposits", "refund", refund, "--transaction", &signature, "--reason", "r", "--json"]);
    shop.chain.set_balance(&refunded, 0).await;

    let treasury = format!("{{ solana = [\"{}\"] }}", shop.chain.payer());
    let (code, balanced) = reconciled(&shop.gateway, "solana", &[], &[("WOPAY_CUSTODY_TREASURY", &treasury)]);
    assert_eq!((code, &balanced["differences"]), (0, &json!([])), "{balanced:#}");
    let figures_of = |asset: &str| figures(total(&balanced, asset)).map(str::to_owned);
    assert_eq!(figures_of("/native"), ["1500000000", "300000000", "1000000", "200000000", "200000000", "1601000000"]);
    assert_eq!(figures_of(&shop.token.mint), ["20250000", "0", "0", "0", "0", "20250000"], "of both accounts");
    assert_eq!(figures_of(&eurx.mint), ["300", "0", "0", "0", "0", "300"]);
    let of_treasury = total(&balanced, "/native")["treasury"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(of_treasury > SOL, "its case is kept: {of_treasury}");
    assert!(balanced["read_up_to"].as_u64() >= balanced["block"]["number"].as_u64(), "{balanced:#}");
    assert_eq!(reconciled(&shop.gateway, "solana", &["--block", "latest"], &[]).0, 0);
    let past = shop.gateway.run(&["audit", "reconcile", "--chain", "solana", "--block", "5"]);
    let stderr = String::from_utf8_lossy(&past.stderr).into_owned();
    assert!(past.status.code() == Some(1) && stderr.contains("take `finalized` or `latest`"), "{stderr}");

    shop.chain.set_balance(&sol_address, SOL * 3 / 2 + 999_999).await;
    let (code, found) = reconciled(&shop.gateway, "solana", &[], &[]);
    assert_eq!((code, &found["differences_total"]), (2, &json!(1)), "{found:#}");
    let difference = &found["differences"][0];
    assert_eq!((&difference["address"], &difference["payment"]), (&json!(sol_address), &json!(sol)));
    assert_eq!((&difference["expected"], &difference["found"]), (&json!("1501000000"), &json!("1500999999")));
    assert_eq!((&difference["kind"], &difference["dust"]), (&json!("missing"), &json!("1000000")));
    let table = shop.gateway.run(&["audit", "reconcile", "--chain", "solana"]);
    let text = String::from_utf8(table.stdout).unwrap();
    assert!(text.contains(&sol_address) && text.contains("not on the chain") && text.contains("1.500999999"), "{text}");
}
