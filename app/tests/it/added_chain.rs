//! Chains that are added while the gateway runs: `wopay chains add`, with the real binary on real chains.

use std::process::Output;

use serde_json::{Value, json};
use wopay_testkit::{Anvil, AnvilOptions, Mining, Token, TokenKind, anvil, eventually, surfpool};

use crate::shop::{CONFIRMATIONS, PATIENCE, Shop, id_and_address};

const CHAIN_ID: u64 = 31_338;

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A second chain, with a token and who has some of it.
struct Second {
    chain: Anvil,
    token: Token,
    payer: String,
}

impl Second {
    async fn start() -> Self {
        let options = AnvilOptions { chain_id: CHAIN_ID, mining: Mining::OnDemand, ..AnvilOptions::default() };
        let chain = anvil(options).await;
        let token = chain.deploy_token(TokenKind::Silent, "USDC", 6).await;
        let payer = chain.accounts[1].clone();
        chain.mint(&token, &payer, token.whole(1_000)).await;
        Self { chain, token, payer }
    }

    /// Its table, with a chain id that may be wrong.
    fn table(&self, chain_id: u64) -> String {
        format!(
            r#"
[chains.second]
kind = "evm"
chain_id = {chain_id}
rpc = ["{}"]
finality = {{ mode = "depth", confirmations = {CONFIRMATIONS} }}
native = {{ symbol = "BNB", decimals = 18 }}
poll_interval_ms = 100
tokens = [{{ symbol = "USDC", contract = "{}", decimals = 6 }}]
"#,
            self.chain.url, self.token.address
        )
    }

    async fn pay(&self, address: &str) {
        self.chain.transfer(&self.token, &self.payer, address, self.token.whole(5)).await;
        self.chain.mine(CONFIRMATIONS).await;
    }
}

impl Shop {
    fn configuration(&self) -> String {
        std::fs::read_to_string(self.gateway.config_path()).unwrap()
    }

    fn write_configuration(&self, text: &str) {
        std::fs::write(self.gateway.config_path(), text).unwrap();
    }

    fn add_second(&self) -> Output {
        self.gateway.run(&["chains", "add", "second", "--reason", "customers ask for it"])
    }

    async fn ask_on(&self, blockchain: &str, order_id: &str, currency: &str) -> (u16, Value) {
        let body = json!({ "order_id": order_id, "amount": "5", "currency": currency, "blockchain": blockchain });
        self.request(reqwest::Method::POST, "/api/v1/payments", Some(&body)).await.expect("an answer")
    }

    /// Asks until the payment is there. Before, the answers may only be those of a chain that is on its way.
    async fn opened_on(&self, blockchain: &str, order_id: &str, currency: &str) -> Value {
        eventually(&format!("a payment on {blockchain}"), PATIENCE, async || {
            let (status, answer) = self.ask_on(blockchain, order_id, currency).await;
            let code = answer["code"].as_str().unwrap_or_default();
            let on_its_way = matches!(code, "invalid_fields" | "currency_paused" | "address_pool_empty");
            assert!(status == 201 || on_its_way, "{status}: {answer}");
            (status == 201).then_some(answer)
        })
        .await
    }

    /// One payment on the chain of the start, from beginning to end.
    async fn first_chain_works(&self, order_id: &str) {
        let (id, address) = id_and_address(&self.create(order_id, "5", "USDT", 3600).await);
        self.chain.transfer(&self.token, self.payer(), &address, 5_000_000).await;
        self.chain.mine(CONFIRMATIONS).await;
        self.reaches(&id, "completed").await;
    }

    /// What `/readyz` says, and the check of the second chain in it.
    async fn second_readiness(&self) -> (u16, Value, Value) {
        let response = self.client.get(format!("{}/readyz", self.gateway.url)).send().await.unwrap();
        let (status, body) = (response.status().as_u16(), response.json::<Value>().await.unwrap());
        let checks = body["checks"].as_array().cloned().unwrap_or_default();
        let check = checks.into_iter().find(|check| check["name"] == "chain:second").unwrap_or_default();
        (status, body["status"].clone(), check)
    }

    /// Waits until readiness says that the second chain is not served here, and why.
    async fn says(&self, expected: &str) {
        eventually(&format!("readiness to say {expected:?}"), PATIENCE, async || {
            let (status, word, check) = self.second_readiness().await;
            let is_said = check["detail"].as_str().is_some_and(|detail| detail.contains(expected));
            is_said.then(|| assert_eq!((status, &word, &check["ready"]), (200, &json!("degraded"), &json!(false))))
        })
        .await;
    }

    async fn chains_added(&self) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'ChainAdded'");
        count.fetch_one(&self.database.pool).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_added_at_run_time_and_paid_also_after_a_crash() {
    let mut shop = Shop::open(Mining::OnDemand).await;
    let second = Second::start().await;
    let (open, open_address) = id_and_address(&shop.create("OPEN", "5", "USDT", 3600).await);
    let first_alone = shop.configuration();

    // What the nodes contradict is not recorded, and neither is what has no table.
    let no_table = shop.add_second();
    assert!(!no_table.status.success() && stderr(&no_table).contains("write [chains.second]"), "{}", stderr(&no_table));
    shop.write_configuration(&format!("{first_alone}{}", second.table(999)));
    let wrong = shop.add_second();
    let said = stderr(&wrong);
    assert!(!wrong.status.success() && said.contains("was not added") && said.contains("chain id is 31338"), "{said}");
    shop.write_configuration(&format!(
        "{first_alone}{}",
        second.table(CHAIN_ID).replace("decimals = 6", "decimals = 8")
    ));
    let wrong = shop.add_second();
    assert!(!wrong.status.success() && stderr(&wrong).contains("decimals"), "{}", stderr(&wrong));
    assert_eq!(shop.chains_added().await, 0);
    let (_, refused) = shop.ask_on("second", "EARLY", "USDC").await;
    assert_eq!(refused["code"], "invalid_fields", "the file alone adds nothing: {refused}");

    shop.write_configuration(&format!("{first_alone}{}", second.table(CHAIN_ID)));
    let added = shop.add_second();
    assert!(added.status.success(), "{}", stderr(&added));
    let (id, address) = id_and_address(&shop.opened_on("second", "ON-SECOND", "USDC").await);
    second.pay(&address).await;
    let completed = shop.reaches(&id, "completed").await;
    assert_eq!((&completed["currency"], &completed["blockchain"]), (&json!("USDC"), &json!("second")));

    // The chain of the start was never away: what was open there is paid.
    shop.chain.transfer(&shop.token, shop.payer(), &open_address, 5_000_000).await;
    shop.chain.mine(CONFIRMATIONS).await;
    shop.reaches(&open, "completed").await;
    let (status, word, check) = shop.second_readiness().await;
    assert_eq!((status, &word, &check["ready"]), (200, &json!("ready"), &json!(true)), "{check}");

    // It is a chain like any other: known, listed, paused, and there after a crash.
    let again = shop.add_second();
    assert!(!again.status.success() && stderr(&again).contains("was added already"), "{}", stderr(&again));
    let configured = shop.gateway.run(&["chains", "add", "ethereum"]);
    assert!(
        !configured.status.success() && stderr(&configured).contains("is watched already"),
        "{}",
        stderr(&configured)
    );
    let listed = shop.gateway.run_json(&["chains", "list", "--json"]);
    let row = listed.as_array().unwrap().iter().find(|row| row["chain"] == "second").unwrap();
    assert!(row["added_at"].is_string() && row["assets"][1]["open"] == true, "{row}");
    assert_eq!(listed[0]["added_at"], Value::Null, "{listed}");
    assert!(shop.gateway.run(&["chains", "pause", "second", "--reason", "upgrade"]).status.success());
    let mut tries = 0;
    eventually("the added chain to be paused", PATIENCE, async || {
        tries += 1;
        let (_, answer) = shop.ask_on("second", &format!("PAUSED-{tries}"), "USDC").await;
        (answer["code"] == "chain_paused").then_some(())
    })
    .await;
    assert!(shop.gateway.run(&["chains", "resume", "second"]).status.success());
    let opened = eventually("the added chain to be resumed", PATIENCE, async || {
        let (status, answer) = shop.ask_on("second", "KILLED", "USDC").await;
        (status == 201).then_some(answer)
    })
    .await;
    let (id, address) = id_and_address(&opened);
    shop.gateway.kill();
    second.pay(&address).await;
    shop.gateway.start().await;
    shop.reaches(&id, "completed").await;

    // Without its table the chain is not forgotten: the process says so, and takes the table when it is back.
    let (id, address) = id_and_address(&shop.opened_on("second", "FORGOTTEN", "USDC").await);
    assert_eq!(shop.gateway.stop().await, 0);
    shop.write_configuration(&first_alone);
    shop.gateway.start().await;
    second.pay(&address).await;
    shop.says("has no table").await;
    shop.first_chain_works("BESIDE").await;
    let listed = shop.gateway.run_json(&["chains", "list", "--json"]);
    let row = listed.as_array().unwrap().iter().find(|row| row["chain"] == "second").unwrap();
    assert!(row["unserved"].is_string() && row["assets"][1]["open"] == false, "{row}");
    let checked = shop.gateway.run(&["chains", "check"]);
    assert!(!checked.status.success() && stderr(&checked).contains("second: it was added at"), "{}", stderr(&checked));
    for command in [
        &["chains", "pause", "second", "--token", "usdc", "--reason", "x"][..],
        &["chains", "resume", "second", "--token", "usdc"],
    ] {
        let done = shop.gateway.run(command);
        assert!(done.status.success(), "{}", stderr(&done));
    }
    shop.write_configuration(&format!("{first_alone}{}", second.table(CHAIN_ID)));
    shop.reaches(&id, "completed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_the_table_says_so_and_serves_the_others() {
    let shop = Shop::open(Mining::OnDemand).await;
    let second = Second::start().await;
    // The operator's machine has the table, that of the gateway has none.
    let contract = format!("[{{ symbol = \"USDC\", contract = \"{}\", decimals = 6 }}]", second.token.address);
    let elsewhere = [
        ("WOPAY_CHAINS_SECOND_KIND", "evm"),
        ("WOPAY_CHAINS_SECOND_CHAIN_ID", "31338"),
        ("WOPAY_CHAINS_SECOND_RPC", &second.chain.url),
        ("WOPAY_CHAINS_SECOND_NATIVE", "{ symbol = \"BNB\", decimals = 18 }"),
        ("WOPAY_CHAINS_SECOND_TOKENS", &contract),
    ];
    let added = shop.gateway.run_with(&["chains", "add", "second"], &elsewhere);
    assert!(added.status.success(), "{}", stderr(&added));
    shop.says("has no table").await;
    assert!(shop.gateway.log().contains("NOT served here"), "the log says so too");
    let metrics = shop.client.get(format!("{}/metrics", shop.gateway.url)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("wopay_chains_unserved{chain=\"second\"} 1"), "{metrics}");
    let (_, refused) = shop.ask_on("second", "EARLY", "USDC").await;
    assert_eq!(refused["code"], "invalid_fields", "{refused}");
    shop.first_chain_works("BESIDE").await;

    let first_alone = shop.configuration();
    shop.write_configuration(&format!("{first_alone}{}", second.table(999)));
    shop.says("chain id 999").await;
    shop.write_configuration(&format!("{first_alone}{}", second.table(CHAIN_ID)));
    let (id, address) = id_and_address(&shop.opened_on("second", "ON-SECOND", "USDC").await);
    second.pay(&address).await;
    shop.reaches(&id, "completed").await;
}

/// Each part in a process of its own, as on machines of their own.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_another_family_is_added_to_processes_with_one_role_each() {
    let mut shop = Shop::open(Mining::OnDemand).await;
    assert_eq!(shop.gateway.stop().await, 0);
    shop.gateway.launch(&["--roles", "api,relay,projections,webhooks,scheduler"]);
    shop.gateway.ready().await;
    let (watchers, signer) = (shop.gateway.launch_beside("watchers"), shop.gateway.launch_beside("signer"));
    shop.first_chain_works("BEFORE").await;

    let network = surfpool().await;
    let table = format!(
        r#"
[chains.solana]
kind = "solana"
rpc = ["{}"]
finality = {{ confirmations = 1 }}
native = {{ symbol = "SOL", decimals = 9 }}
poll_interval_ms = 50
"#,
        network.url
    );
    shop.write_configuration(&(shop.configuration() + &table));
    let added = shop.gateway.run(&["chains", "add", "solana"]);
    assert!(added.status.success(), "{}", stderr(&added));
    let opened = shop.opened_on("solana", "SOL-1", "SOL").await;
    let (id, address) = (opened["id"].as_str().unwrap(), opened["payment_address"].as_str().unwrap());
    network.pay(address, 5_000_000_000).await;
    shop.reaches(id, "completed").await;
    shop.first_chain_works("AFTER").await;
    drop((watchers, signer));
    // The table names no cluster; the ledger does.
    let recorded: String = sqlx::query_scalar(
        "SELECT payload #>> '{ChainAdded,genesis_hash}' FROM events WHERE event_type = 'ChainAdded'",
    )
    .fetch_one(&shop.database.pool)
    .await
    .unwrap();
    assert_eq!(recorded, network.genesis_hash().await);
}
