//! Proof of funds: the ledger beside a real chain.

use serde_json::{Value, json};
use wopay_testkit::{Call, Contract, Mining};

use crate::shop::{CONFIRMATIONS, Shop, id_and_address};

/// Exit code and result of a reconciliation at `block`.
fn reconcile(shop: &Shop, block: u64) -> (i32, Value) {
    let block = block.to_string();
    let output = shop.gateway.run(&["audit", "reconcile", "--chain", "ethereum", "--block", &block, "--json"]);
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
