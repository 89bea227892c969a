//! The audit log, as an auditor meets it: sealed at once, proven offline, and loud when somebody was at the tables.

use std::time::Duration;

use sqlx::Executor as _;
use wopay_testkit::{database, eventually};

use crate::gateway::Gateway;

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_is_sealed_proven_and_verified() {
    let database = database().await;
    let mut gateway = Gateway::new(&format!("database_url = \"{}\"", database.url)).await;
    gateway.start().await;
    for number in 1..=3 {
        let email = format!("m{number}@example.com");
        gateway.run_json(&["merchant", "create", "--name", "M", "--email", &email, "--json"]);
    }
    let head: i64 = sqlx::query_scalar("SELECT position FROM ledger_head").fetch_one(&database.pool).await.unwrap();
    let size = head.to_string();
    let note = eventually("the events to be sealed", PATIENCE, async || {
        let printed = gateway.run(&["audit", "checkpoint", "--size", &size]);
        printed.status.success().then(|| String::from_utf8(printed.stdout).unwrap())
    })
    .await;
    assert!(note.starts_with(&format!("wopay.local/main\n{size}\n")), "{note}");
    let copy = gateway.data_dir().join("audit/checkpoint");
    let copied = async || std::fs::read_to_string(&copy).ok().filter(|copied| *copied == note);
    eventually("the copy", PATIENCE, copied).await;
    let key = String::from_utf8(gateway.run(&["audit", "key"]).stdout).unwrap().trim().to_owned();

    // A proof checks with the key alone, and fails with another.
    let proof = gateway.data_dir().join("2.tlog-proof");
    let proof_path = proof.to_str().unwrap();
    assert!(gateway.run(&["audit", "prove", "2", "--out", proof_path]).status.success());
    let checked = gateway.run(&["audit", "check-proof", proof_path, "--key", &key]);
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(
        checked.status.success() && said.contains(&format!("stands at position 2 of the log of {size} events")),
        "{said}"
    );
    std::fs::write(&proof, std::fs::read_to_string(&proof).unwrap().replace("index 1", "index 0")).unwrap();
    let checked = gateway.run(&["audit", "check-proof", proof_path, "--key", &key]);
    assert_eq!(checked.status.code(), Some(2));

    // An auditor who has the public key needs no other.
    let verified = gateway.run(&["audit", "verify", "--key", &key]);
    let said = String::from_utf8(verified.stdout).unwrap();
    assert!(verified.status.success() && said.contains("The ledger is what was sealed."), "{said}");

    let mut hand = database.pool.acquire().await.unwrap();
    hand.execute("SET session_replication_role = replica").await.unwrap();
    hand.execute("UPDATE events SET metadata = '{\"actor\":\"nobody\"}' WHERE position = 2").await.unwrap();
    let verified = gateway.run(&["audit", "verify", "--json"]);
    assert_eq!(verified.status.code(), Some(2));
    let report: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((&report["findings"][0]["position"], &report["findings"][0]["problem"]), (&2.into(), &"altered".into()));

    // A ledger that is shorter than what was sealed is not sealed on, and readiness says so.
    hand.execute(format!("DELETE FROM events WHERE position = {head}").as_str()).await.unwrap();
    hand.execute("UPDATE ledger_head SET position = position - 1").await.unwrap();
    let url = format!("{}/readyz", gateway.url);
    eventually("readiness to say so", PATIENCE, async || {
        let answer = crate::gateway::client().get(&url).send().await.ok()?;
        let (status, body) = (answer.status(), answer.text().await.ok()?);
        (status == 503 && body.contains("events are gone")).then_some(())
    })
    .await;
    let kept = gateway.data_dir().join("kept");
    std::fs::write(&kept, &note).unwrap();
    std::fs::remove_file(&copy).unwrap();
    let verified = gateway.run(&["audit", "verify", "--json", "--checkpoint", kept.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(2));
    let report: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert!(report["findings"].as_array().unwrap().iter().any(|f| f["position"] == head && f["problem"] == "missing"));
    gateway.stop().await;
}
