//! Forgetting a merchant: what is gone, what stays, and that everything goes on.

use serde_json::{Value, json};
use wopay_testkit::{Mining, eventually};

use crate::shop::{CONFIRMATIONS, PATIENCE, Shop, id_and_address};

async fn count(shop: &Shop, query: &str) -> i64 {
    sqlx::query_scalar(query).fetch_one(&shop.database.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_merchant_is_nobody_and_the_books_stay() {
    let mut shop = Shop::open(Mining::OnDemand).await;
    let payer = shop.payer().to_owned();
    let before = shop.create("BEFORE", "10", "USDT", 3600).await;
    let after = shop.create("AFTER", "20", "USDT", 3600).await;
    let ((paid, address), (open, open_address)) = (id_and_address(&before), id_and_address(&after));
    shop.chain.transfer(&shop.token, &payer, &address, 10_000_000).await;
    shop.chain.mine(CONFIRMATIONS).await;
    shop.reaches(&paid, "completed").await;
    shop.webhook(&paid, "payment.completed").await;

    let merchant = shop.merchant_id.clone();
    let asked = shop.gateway.run(&["merchant", "forget", &merchant]);
    let stderr = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(!asked.status.success() && stderr.contains("--yes"), "{stderr}");
    let forgotten = shop.gateway.run_json(&["merchant", "forget", &merchant, "--yes", "--json"]);
    assert_eq!(
        (&forgotten["key_destroyed"], &forgotten["secrets_destroyed"]),
        (&json!(true), &json!(3)),
        "{forgotten}"
    );
    let again = shop.gateway.run_json(&["merchant", "forget", &merchant, "--yes", "--json"]);
    assert_eq!((&again["key_destroyed"], &again["position"]), (&json!(false), &Value::Null), "{again}");
    let unknown = shop.gateway.run(&["merchant", "forget", "00000000-0000-0000-0000-000000000000", "--yes"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no merchant"));

    // Its key is useless at once, its row says nobody.
    eventually("the key to be refused", PATIENCE, async || {
        let (status, _) = shop.request(reqwest::Method::GET, "/api/v1/payments", None).await?;
        (status == 401).then_some(())
    })
    .await;
    let row = eventually("the row of nobody", PATIENCE, async || {
        let row: (String, Option<String>, Option<String>, Option<String>, String) =
            sqlx::query_as("SELECT name, email, api_key, webhook_url, status FROM merchants")
                .fetch_one(&shop.database.pool)
                .await
                .unwrap();
        (row.4 == "forgotten").then_some(row)
    })
    .await;
    assert_eq!(row, ("[forgotten]".to_owned(), None, None, None, "forgotten".to_owned()));
    assert_eq!(count(&shop, "SELECT count(*) FROM secrets WHERE sealed <> ''").await, 0);
    eventually("the webhook settings to go", PATIENCE, async || {
        (count(&shop, "SELECT count(*) FROM webhook_endpoints").await == 0).then_some(())
    })
    .await;

    // Money that still comes is recorded, and nobody is told.
    let told = shop.receiver.received().len();
    shop.chain.transfer(&shop.token, &payer, &open_address, 20_000_000).await;
    shop.chain.mine(CONFIRMATIONS).await;
    eventually("the late money in the read side", PATIENCE, async || {
        let status: String = sqlx::query_scalar("SELECT status FROM payments WHERE id = $1::uuid")
            .bind(&open)
            .fetch_one(&shop.database.pool)
            .await
            .unwrap();
        (status == "completed").then_some(())
    })
    .await;
    eventually("the webhook planner to be up to date", PATIENCE, async || {
        let behind = "SELECT (SELECT position FROM ledger_head)
                           - (SELECT position FROM follower_checkpoints WHERE name = 'webhooks')";
        (count(&shop, behind).await == 0).then_some(())
    })
    .await;
    assert_eq!(count(&shop, "SELECT count(*) FROM webhook_deliveries WHERE state = 'pending'").await, 0);
    assert_eq!(shop.receiver.received().len(), told, "nothing is announced any more");

    // A rebuild sees the same; a key that came back with an old copy of the vault is destroyed at the next start.
    let table = "SELECT t::text FROM merchants AS t";
    let live: String = sqlx::query_scalar(table).fetch_one(&shop.database.pool).await.unwrap();
    shop.gateway.run_json(&["projections", "rebuild", "merchants", "--json"]);
    let rebuilt: String = sqlx::query_scalar(table).fetch_one(&shop.database.pool).await.unwrap();
    assert_eq!(rebuilt, live);
    for restored in [
        "ALTER TABLE subject_keys DISABLE TRIGGER USER",
        "UPDATE subject_keys SET sealed = 'key', destroyed_at = NULL",
        "UPDATE secrets SET sealed = 'copy'",
        "ALTER TABLE subject_keys ENABLE TRIGGER USER",
    ] {
        sqlx::query(restored).execute(&shop.database.pool).await.unwrap();
    }
    assert_eq!(shop.gateway.stop().await, 0);
    shop.gateway.start().await;
    assert_eq!(count(&shop, "SELECT count(*) FROM subject_keys WHERE sealed IS NOT NULL").await, 0);
    assert_eq!(count(&shop, "SELECT count(*) FROM secrets WHERE sealed <> ''").await, 0);

    // Others may come.
    let create = ["merchant", "create", "--name", "New", "--email", "new@example.com", "--json"];
    assert!(shop.gateway.run_json(&create)["merchant_id"].is_string());

    // And the history is whole.
    for audit in [
        vec!["audit", "verify"],
        vec!["audit", "replay", "--merchant", &merchant],
        vec!["audit", "replay", "--payment", &paid],
        vec!["audit", "explain", &paid],
        vec!["projections", "check"],
    ] {
        let output = shop.gateway.run(&audit);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{audit:?}: {stdout} {stderr}");
    }
}
