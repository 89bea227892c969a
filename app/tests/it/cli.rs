//! The command line: what it prints, and how it refuses.

use std::process::Command;

use wopay_testkit::{AnvilOptions, TokenKind, anvil, database, empty_database, nats};

use crate::gateway::{BINARY, Gateway};

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_names_every_command() {
    let output = Command::new(BINARY).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for command in ["serve", "migrate", "merchant", "projections", "chains"] {
        assert!(text.contains(command), "{text}");
    }
}

#[test]
fn a_wrong_configuration_says_what_is_wrong() {
    let output = Command::new(BINARY).args(["serve", "--config", "/nowhere.toml"]).output().unwrap();
    assert!(!output.status.success() && stderr(&output).contains("/nowhere.toml"), "{}", stderr(&output));
    let output = Command::new(BINARY).args(["serve", "--roles", "everything"]).output().unwrap();
    assert!(!output.status.success() && stderr(&output).contains("the roles are api, relay"), "{}", stderr(&output));
    let output = Command::new(BINARY).arg("migrate").env("WOPAY_LISTEM", "x").output().unwrap();
    assert!(!output.status.success() && stderr(&output).contains("WOPAY_LISTEM"), "{}", stderr(&output));
}

#[tokio::test]
async fn migrate_brings_an_empty_database_up_once() {
    let database = empty_database().await;
    let gateway = Gateway::new(&format!("database_url = \"{}\"\n", database.url)).await;
    let first = gateway.run(&["migrate"]);
    assert!(first.status.success(), "{}", stderr(&first));
    assert!(String::from_utf8_lossy(&first.stdout).starts_with("Applied "));
    let second = gateway.run(&["migrate"]);
    assert!(String::from_utf8_lossy(&second.stdout).contains("already"));
}

#[tokio::test]
async fn production_waits_for_a_person_to_migrate() {
    let (database, nats) = tokio::join!(empty_database(), nats());
    let gateway = Gateway::new(&format!(
        "database_url = \"{}\"\nnats_url = \"{}\"\npublic_url = \"https://pay.example\"\n",
        database.url, nats.url
    ))
    .await;
    let config = std::fs::read_to_string(gateway.config_path()).unwrap();
    std::fs::write(gateway.config_path(), config.replace("\"development\"", "\"production\"")).unwrap();
    let refused = gateway.run(&["serve"]);
    assert!(stderr(&refused).contains("no master key"), "{}", stderr(&refused));
    let key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let refused = gateway.run_with(&["serve"], &[("WOPAY_CUSTODY_MASTER_KEY", key)]);
    assert!(stderr(&refused).contains("run `wopay migrate`"), "{}", stderr(&refused));
}

#[tokio::test]
async fn merchants_are_created_once_per_address() {
    let database = database().await;
    let gateway = Gateway::new(&format!("database_url = \"{}\"\n", database.url)).await;
    let create = ["merchant", "create", "--name", "Shop", "--email", "Shop@Example.com", "--json"];
    let created = gateway.run_json(&create);
    for field in ["merchant_id", "api_key", "api_secret", "webhook_secret"] {
        assert!(created[field].is_string(), "{created}");
    }
    assert!(created["webhook_secret"].as_str().unwrap().starts_with("whsec_"));
    let same = gateway.run(&["merchant", "create", "--name", "Other", "--email", "shop@example.COM"]);
    assert!(!same.status.success() && stderr(&same).contains("exists"), "{}", stderr(&same));
    for bad in [
        vec!["merchant", "create", "--name", " ", "--email", "b@example.com"],
        vec!["merchant", "create", "--name", "B", "--email", "nobody"],
        vec!["merchant", "create", "--name", "B", "--email", "b@example.com", "--underpayment-tolerance", "101"],
        vec!["merchant", "create", "--name", "B", "--email", "b@example.com", "--webhook-url", "ftp://x.example/"],
        vec!["merchant", "create", "--name", "B", "--email", "b@example.com", "--webhook-url", "https://127.0.0.1/"],
    ] {
        let output = gateway.run(&bad);
        assert!(!output.status.success() && stderr(&output).contains("--"), "{bad:?}: {}", stderr(&output));
    }
    gateway.run_json(&[
        "merchant",
        "create",
        "--name",
        "C",
        "--email",
        "c@example.com",
        "--underpayment-tolerance",
        "0.5",
        "--late-deposits",
        "hold",
        "--json",
    ]);
    let policy: serde_json::Value = sqlx::query_scalar(
        "SELECT payload -> 'MerchantRegistered' -> 'policy' FROM events
         WHERE event_type = 'MerchantRegistered' ORDER BY position DESC LIMIT 1",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    assert_eq!(policy, serde_json::json!({ "underpayment_tolerance": "0.5", "late_deposits": "hold" }));
    // Nothing personal and nothing secret is in the events.
    let events: Vec<String> = sqlx::query_scalar("SELECT payload::text || metadata::text FROM events")
        .fetch_all(&database.pool)
        .await
        .unwrap();
    let text = events.join("\n").to_lowercase();
    for secret in ["shop@example.com", "\"shop\"", created["api_key"].as_str().unwrap(), "whsec_"] {
        assert!(!text.contains(&secret.to_lowercase()), "{secret} is in the events");
    }
}

#[tokio::test]
async fn chains_check_compares_the_configuration_with_the_nodes() {
    let chain = anvil(AnvilOptions::default()).await;
    let token = chain.deploy_token(TokenKind::Plain, "USDT", 6).await;
    let settings = |chain_id: u64, decimals: u8| {
        format!(
            "[chains.local]\nkind = \"evm\"\nchain_id = {chain_id}\nrpc = [\"{}\"]\n\
             native = {{ symbol = \"ETH\", decimals = 18 }}\n\
             [[chains.local.tokens]]\nsymbol = \"USDT\"\ncontract = \"{}\"\ndecimals = {decimals}\n",
            chain.url, token.address
        )
    };
    let report = Gateway::new(&settings(31337, 6)).await.run_json(&["chains", "check", "--json"]);
    assert_eq!(report[0]["endpoints"][0]["chain_id"], 31337, "{report}");
    assert_eq!(report[0]["endpoints"][0]["tokens"][0]["ok"], true, "{report}");
    for (chain_id, decimals, expected) in [(1, 6, "chain id"), (31337, 18, "decimals")] {
        let output = Gateway::new(&settings(chain_id, decimals)).await.run(&["chains", "check"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && text.contains("local at") && text.contains(expected), "{text}");
    }
    let none = Gateway::new("").await.run(&["chains", "check"]);
    assert!(stderr(&none).contains("no chain is configured"), "{}", stderr(&none));
}
