//! Chains at run time: tokens that are added, and pauses, with the real binary on a real chain.

use serde_json::{Value, json};
use wopay_testkit::{Mining, TokenKind, eventually};

use crate::shop::{CONFIRMATIONS, PATIENCE, Shop, id_and_address};

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Shop {
    async fn ask(&self, order_id: &str, currency: &str) -> (u16, Value) {
        let body = json!({ "order_id": order_id, "amount": "5", "currency": currency, "blockchain": "ethereum" });
        let answer = self.request(reqwest::Method::POST, "/api/v1/payments", Some(&body)).await;
        answer.expect("an answer")
    }

    /// Asks until the answer has this code, each time for another order: one that was taken before stays taken.
    async fn is_refused(&self, order_id: &str, currency: &str, code: &str) -> Value {
        let mut tries = 0;
        eventually(&format!("{currency} to be refused as {code}"), PATIENCE, async || {
            tries += 1;
            Some(self.ask(&format!("{order_id}-{tries}"), currency).await.1).filter(|answer| answer["code"] == code)
        })
        .await
    }

    /// Asks until the payment is there.
    async fn is_taken(&self, order_id: &str, currency: &str) -> Value {
        eventually(&format!("{currency} to be taken"), PATIENCE, async || {
            Some(self.ask(order_id, currency).await).filter(|(status, _)| *status == 201).map(|(_, payment)| payment)
        })
        .await
    }

    fn chains(&self, args: &[&str]) -> std::process::Output {
        let args: Vec<&str> = ["chains"].iter().chain(args).copied().collect();
        self.gateway.run(&args)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_added_at_run_time_and_paid_also_after_a_crash() {
    let mut shop = Shop::open(Mining::OnDemand).await;
    let payer = shop.payer().to_owned();
    let usdc = shop.chain.deploy_token(TokenKind::Silent, "USDC", 6).await;
    shop.chain.mint(&usdc, &payer, usdc.whole(1_000)).await;
    shop.create("FIRST", "5", "USDT", 3600).await;
    let (status, refused) = shop.ask("EARLY", "USDC").await;
    assert_eq!((status, &refused["code"]), (422, &json!("invalid_fields")), "{refused}");

    // The nodes are asked first; what they contradict is not recorded.
    let add = |symbol: &str, contract: &str, decimals: &str| {
        shop.chains(&["add-token", "ethereum", "--symbol", symbol, "--contract", contract, "--decimals", decimals])
    };
    let wrong = add("USDC", &usdc.address, "18");
    assert!(!wrong.status.success() && stderr(&wrong).contains("decimals"), "{}", stderr(&wrong));
    let nobody = add("USDC", "0x00000000000000000000000000000000000000aa", "6");
    assert!(!nobody.status.success() && stderr(&nobody).contains("was not added"), "{}", stderr(&nobody));
    let with_least = |least: &str| {
        let contract = usdc.address.to_uppercase().replacen("0X", "0x", 1);
        let token = ["--symbol", "USDC", "--contract", &contract, "--decimals", "6", "--min-deposit", least];
        shop.chains(&[["add-token", "ethereum"].as_slice(), &token].concat())
    };
    for (least, error) in
        [("0.0000001", "has 7 digits after the point"), ("1e3", "plain decimal"), ("", "plain decimal")]
    {
        let refused = with_least(least);
        assert!(!refused.status.success() && stderr(&refused).contains(error), "{}", stderr(&refused));
    }
    let added = with_least("2.5");
    assert!(added.status.success(), "{}", stderr(&added));
    assert!(with_least("2.500000").status.success(), "the same once more");
    let other = with_least("3");
    assert!(!other.status.success() && stderr(&other).contains("another `min_deposit`"), "{}", stderr(&other));
    let again = add("USDC", &usdc.address, "6");
    assert!(String::from_utf8_lossy(&again.stdout).contains("already"), "{}", stderr(&again));
    let renamed = add("USDX", &usdc.address, "6");
    assert!(!renamed.status.success() && stderr(&renamed).contains("as USDC already"), "{}", stderr(&renamed));
    let taken = add("usdt", &usdc.address, "6");
    assert!(!taken.status.success(), "{}", stderr(&taken));

    let (id, address) = id_and_address(&shop.is_taken("ORDER-USDC", "USDC").await);
    let body = json!({ "order_id": "LESS", "amount": "2.499999", "currency": "USDC", "blockchain": "ethereum" });
    let (status, less) = shop.request(reqwest::Method::POST, "/api/v1/payments", Some(&body)).await.unwrap();
    assert_eq!((status, &less["errors"][0]["code"]), (422, &json!("below_min_deposit")), "{less}");
    shop.chain.transfer(&usdc, &payer, &address, usdc.whole(2)).await;
    shop.chain.transfer(&usdc, &payer, &address, usdc.whole(5)).await;
    shop.chain.mine(CONFIRMATIONS).await;
    let completed = shop.reaches(&id, "completed").await;
    assert_eq!((&completed["currency"], &completed["amount_paid"]), (&json!("USDC"), &json!("5.000000")));

    let listed = shop.gateway.run_json(&["chains", "list", "--json"]);
    let row = listed[0]["assets"].as_array().unwrap().iter().find(|asset| asset["symbol"] == "USDC").unwrap();
    assert!(row["watched_from_block"].as_i64().is_some() && row["added_at"].is_string(), "{row}");
    assert_eq!((&row["open"], &row["min_deposit"]), (&json!(true), &json!("2.500000")), "{row}");
    let table = shop.chains(&["list"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains(&usdc.address), "{}", stderr(&table));
    let checked = shop.gateway.run_json(&["chains", "check", "--json"]);
    let tokens = checked[0]["endpoints"][0]["tokens"].as_array().unwrap();
    assert!(tokens.iter().any(|token| token["symbol"] == "USDC" && token["ok"] == true), "{checked}");

    // Money that arrives while nobody watches is found by the next start, which has the token from the ledger.
    let (id, address) = id_and_address(&shop.is_taken("ORDER-KILLED", "USDC").await);
    shop.gateway.kill();
    shop.chain.transfer(&usdc, &payer, &address, usdc.whole(5)).await;
    shop.chain.mine(CONFIRMATIONS).await;
    shop.gateway.start().await;
    shop.reaches(&id, "completed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_refuses_new_payments_and_money_on_its_way_is_credited() {
    let shop = Shop::open(Mining::OnDemand).await;
    let payer = shop.payer().to_owned();
    let (id, address) = id_and_address(&shop.create("OPEN", "5", "USDT", 3600).await);

    let paused = shop.chains(&["pause", "ethereum", "--reason", "node upgrade"]);
    assert!(paused.status.success(), "{}", stderr(&paused));
    let refused = shop.is_refused("NEW", "USDT", "chain_paused").await;
    assert_eq!((&refused["status"], &refused["detail"]), (&json!(409), &json!("ethereum is paused: node upgrade.")));
    shop.is_refused("NEW-ETH", "ETH", "chain_paused").await;
    let body = json!({ "order_id": "OPEN", "amount": "5", "currency": "USDT", "blockchain": "ethereum" });
    let (status, repeated) = shop.request(reqwest::Method::POST, "/api/v1/payments", Some(&body)).await.unwrap();
    assert_eq!((status, &repeated["id"]), (200, &json!(id)), "a repeated request gets its payment: {repeated}");

    shop.chain.transfer(&shop.token, &payer, &address, 5_000_000).await;
    shop.chain.mine(CONFIRMATIONS).await;
    shop.reaches(&id, "completed").await;

    let one = shop.chains(&["pause", "ethereum", "--token", "usdt", "--reason", "depeg"]);
    assert!(one.status.success(), "{}", stderr(&one));
    let resumed = shop.chains(&["resume", "ethereum"]);
    assert!(String::from_utf8_lossy(&resumed.stdout).contains("takes new payments again"), "{}", stderr(&resumed));
    shop.is_taken("ETH", "ETH").await;
    let refused = shop.is_refused("NEW", "USDT", "currency_paused").await;
    assert_eq!(refused["detail"], "USDT on ethereum is paused: depeg.");
    let listed = shop.gateway.run_json(&["chains", "list", "--json"]);
    let row = listed[0]["assets"].as_array().unwrap().iter().find(|asset| asset["symbol"] == "USDT").unwrap();
    assert_eq!((&row["open"], &row["paused"]["reason"]), (&json!(false), &json!("depeg")), "{row}");

    assert!(shop.chains(&["resume", "ethereum", "--token", "USDT"]).status.success());
    shop.is_taken("NEW", "USDT").await;
    let nothing = shop.chains(&["resume", "ethereum", "--token", "USDT"]);
    assert!(String::from_utf8_lossy(&nothing.stdout).contains("was not paused"), "{}", stderr(&nothing));
    let unknown = shop.chains(&["pause", "ethereum", "--token", "XYZ", "--reason", "x"]);
    assert!(stderr(&unknown).contains("has no XYZ"), "{}", stderr(&unknown));
}
