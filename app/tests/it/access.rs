//! `wopay access`: keys of the house, from the command line to a request that is served, and refused.

use std::time::Duration;

use serde_json::Value;
use wopay_testkit::{database, eventually, nats};

use crate::gateway::{Gateway, client};

const PATIENCE: Duration = Duration::from_secs(60);

async fn get(gateway: &Gateway, key: &str, path: &str) -> (u16, String) {
    let request = client().get(format!("{}{path}", gateway.url)).bearer_auth(key);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_reads_the_books_until_it_is_revoked() {
    let (database, nats) = tokio::join!(database(), nats());
    let settings = format!("database_url = \"{}\"\nnats_url = \"{}\"\n", database.url, nats.url);
    let mut gateway = Gateway::new(&settings).await;
    gateway.start().await;
    let create = |role: &str| gateway.run_json(&["access", "create", "--role", role, "--label", "month end", "--json"]);
    let (finance, auditor) = (create("finance"), create("auditor"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (key, id) = (text(&finance["access_key"]), text(&finance["key_id"]));
    assert!(key.starts_with("wa_") && key.len() > 40, "{finance}");
    assert_eq!((&finance["role"], &auditor["role"]), (&"finance".into(), &"auditor".into()));

    let path = "/api/v1/ledger/trial-balance?format=csv";
    let (status, table) = get(&gateway, &key, path).await;
    assert_eq!((status, table.lines().count()), (200, 1), "{table}");
    assert_eq!(get(&gateway, &key, "/api/v1/audit/proof?position=1").await.0, 403);
    let proof = eventually("the key's own event to be sealed", PATIENCE, async || {
        let (status, proof) = get(&gateway, &text(&auditor["access_key"]), "/api/v1/audit/proof?position=1").await;
        (status == 200).then_some(proof)
    })
    .await;
    assert!(proof.starts_with("c2sp.org/tlog-proof@v1\n"), "{proof}");

    let revoked = gateway.run(&["access", "revoke", &id]);
    assert_eq!(String::from_utf8_lossy(&revoked.stdout), "The key is revoked.\n");
    eventually("the key to be refused", PATIENCE, async || (get(&gateway, &key, path).await.0 == 401).then_some(()))
        .await;
    let again = gateway.run(&["access", "revoke", &id]);
    assert_eq!(String::from_utf8_lossy(&again.stdout), "The key was revoked already.\n");

    let listed = gateway.run_json(&["access", "list", "--json"]);
    assert_eq!((&listed[0]["key_id"], listed[0]["revoked_at"].is_string()), (&finance["key_id"], true), "{listed}");
    assert_eq!((&listed[1]["key_id"], &listed[1]["revoked_at"]), (&auditor["key_id"], &Value::Null), "{listed}");
    let shown = String::from_utf8(gateway.run(&["access", "list"]).stdout).unwrap();
    assert!(shown.contains("month end") && !shown.contains(&key), "{shown}");
    let events: Vec<String> = sqlx::query_scalar("SELECT payload::text || metadata::text FROM events")
        .fetch_all(&database.pool)
        .await
        .unwrap();
    assert!(!events.join("\n").contains(&key), "the key is in the events");
    assert_eq!(gateway.stop().await, 0);
}

#[tokio::test]
async fn what_is_wrong_is_refused() {
    let database = database().await;
    let gateway = Gateway::new(&format!("database_url = \"{}\"\n", database.url)).await;
    let none = String::from_utf8(gateway.run(&["access", "list"]).stdout).unwrap();
    assert_eq!(none, "There are no access keys.\n");
    for (args, expected) in [
        (vec!["access", "create", "--role", "operator", "--label", "x"], "a role is `finance` or `auditor`"),
        (vec!["access", "create", "--role", "finance", "--label", " "], "a label has 1 to 64 printable characters"),
        (vec!["access", "revoke", "00000000-0000-0000-0000-000000000000"], "the access key does not exist"),
    ] {
        let output = gateway.run(&args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(expected), "{args:?}: {stderr}");
    }
}
