//! Odd money end to end: seen, listed at the command line and over HTTP, and decided about.

use serde_json::{Value, json};
use wopay_testkit::{Mining, eventually};

use crate::shop::{CONFIRMATIONS, PATIENCE, Shop, id_and_address};

/// The deposits that the command line lists in a state, once there are so many.
pub(crate) async fn listed<C, T>(shop: &Shop<C, T>, state: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} {state}"), PATIENCE, async || {
        let list = shop.gateway.run_json(&["deposits", "list", "--state", state, "--json"]);
        let deposits = list["deposits"].as_array().unwrap().clone();
        let confirmed = deposits.iter().all(|deposit| deposit["is_confirmed"] == true);
        (deposits.len() == count && confirmed).then_some(deposits)
    })
    .await
}

/// Addresses that are nobody's for long: the last of the pool.
pub(crate) async fn spares<const COUNT: usize, C, T>(shop: &Shop<C, T>, family: &str) -> [String; COUNT] {
    let addresses: Vec<String> =
        sqlx::query_scalar("SELECT address FROM address_pool WHERE family = $1 ORDER BY idx DESC LIMIT $2")
            .bind(family)
            .bind(i64::try_from(COUNT).unwrap())
            .fetch_all(&shop.database.pool)
            .await
            .unwrap();
    addresses.try_into().unwrap()
}

async fn pay(shop: &Shop, address: &str, minor: u128) {
    let payer = shop.payer().to_owned();
    shop.chain.transfer(&shop.token, &payer, address, minor).await;
    shop.chain.mine(CONFIRMATIONS - 1).await;
}

fn refused(shop: &Shop, args: &[&str], why: &str) {
    let output = shop.gateway.run(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && stderr.contains(why), "{args:?}: {stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn held_and_unmatched_money_is_assigned_or_recorded_as_sent_back() {
    let shop = Shop::open(Mining::OnDemand).await;
    let (cancelled, address) = id_and_address(&shop.create("ORDER-1", "100", "USDT", 3600).await);
    let cancel = format!("{}/api/v1/payments/{cancelled}/cancel", shop.gateway.url);
    let answer = shop.client.post(cancel).bearer_auth(&shop.api_key).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    pay(&shop, &address, 100_000_000).await;
    shop.reaches(&cancelled, "held").await;
    let held = listed(&shop, "held", 1).await;
    assert_eq!((&held[0]["hold_reason"], &held[0]["payment_id"]), (&json!("cancelled"), &json!(cancelled)));
    let deposit = held[0]["deposit"].as_str().unwrap();
    let (other, _) = id_and_address(&shop.create("ORDER-2", "5", "USDT", 3600).await);
    refused(&shop, &["deposits", "assign", deposit, &other, "--reason", "r"], &format!("held by payment {cancelled}"));
    let assign = ["deposits", "assign", deposit, &cancelled, "--reason", "the goods went out", "--json"];
    let assigned = shop.gateway.run_json(&assign);
    assert_eq!(assigned["payment_status"], "completed", "{assigned}");
    assert_eq!(shop.gateway.run_json(&assign), assigned, "the same again changes nothing");
    assert_eq!(shop.webhook(&cancelled, "payment.completed").await.json()["amount_paid"], "100.000000");

    let [spare] = spares(&shop, "evm").await;
    pay(&shop, &spare, 5_000_000).await;
    pay(&shop, &spare, 7_000_000).await;
    let stray = listed(&shop, "unmatched", 2).await;
    let of = |minor: &str| {
        let found = stray.iter().find(|deposit| deposit["amount_minor"] == minor).unwrap();
        found["deposit"].as_str().unwrap().to_owned()
    };
    let assigned = shop.gateway.run_json(&["deposits", "assign", &of("5000000"), &other, "--reason", "r", "--json"]);
    assert_eq!(assigned["payment_status"], "completed", "{assigned}");
    let hash = format!("0x{}", "ab".repeat(32));
    refused(&shop, &["deposits", "refund", &of("7000000"), "--transaction", "0x12", "--reason", "r"], "64 hex digits");
    shop.gateway.run_json(&["deposits", "refund", &of("7000000"), "--transaction", &hash, "--reason", "r", "--json"]);
    refused(&shop, &["deposits", "assign", &of("7000000"), &other, "--reason", "r"], "refunded by transaction");
    assert_eq!(listed(&shop, "refunded", 1).await[0]["decision_transaction"], json!(hash));
    assert_eq!(listed(&shop, "assigned", 2).await.len(), 2);
    assert!(listed(&shop, "unmatched", 0).await.is_empty());

    let table = shop.gateway.run(&["deposits", "list"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("the goods went out"), "{table:?}");
    let key = shop.gateway.run_json(&["access", "create", "--role", "finance", "--label", "books", "--json"]);
    let csv = format!("{}/api/v1/deposits?state=assigned&format=csv", shop.gateway.url);
    let csv = shop.client.get(csv).bearer_auth(key["access_key"].as_str().unwrap()).send().await.unwrap();
    let csv = csv.text().await.unwrap();
    assert!(csv.starts_with("deposit,state,hold_reason") && csv.lines().count() == 3, "{csv}");
}

/// `account, asset, posted_debit, posted_credit, pending_debit, pending_credit` of every account, in order.
type Sums = Vec<[String; 6]>;

/// Folded from the events up to a position by the audit, which knows no read model.
fn replayed(shop: &Shop, position: i64) -> (Sums, Value) {
    let replay = shop.gateway.run_json(&["audit", "replay", "--as-of", &position.to_string(), "--json"]);
    let line = |line: &Value| {
        ["account", "asset", "posted_debit", "posted_credit", "pending_debit", "pending_credit"]
            .map(|name| line[name].as_str().unwrap().to_owned())
    };
    let mut sums: Sums = replay["balances"].as_array().unwrap().iter().map(line).collect();
    sums.sort();
    assert_eq!(replay["is_balanced"], true, "{replay}");
    (sums, replay["deposits_by_state"].clone())
}

/// As the journal of the read side has them.
async fn journal(shop: &Shop, position: i64) -> Sums {
    let rows: Vec<(String, String, Vec<String>)> = sqlx::query_as(
        "SELECT b.account, b.asset, ARRAY[
                COALESCE(sum(p.amount_minor) FILTER (WHERE p.layer = 'posted' AND p.side = 'debit'), 0)::text,
                COALESCE(sum(p.amount_minor) FILTER (WHERE p.layer = 'posted' AND p.side = 'credit'), 0)::text,
                COALESCE(sum(p.amount_minor) FILTER (WHERE p.layer = 'pending' AND p.side = 'debit'), 0)::text,
                COALESCE(sum(p.amount_minor) FILTER (WHERE p.layer = 'pending' AND p.side = 'credit'), 0)::text]
         FROM ledger_postings p
         JOIN account_balances b ON b.id = p.balance_id
         WHERE p.position <= $1
         GROUP BY b.account, b.asset",
    )
    .bind(position)
    .fetch_all(&shop.database.pool)
    .await
    .unwrap();
    let mut sums: Sums = rows
        .into_iter()
        .map(|(account, asset, sums)| {
            let sums: [String; 4] = sums.try_into().unwrap();
            let [a, b, c, d] = sums;
            [account, asset, a, b, c, d]
        })
        .collect();
    sums.sort();
    sums
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_and_the_journal_agree_on_money_of_nobody() {
    let shop = Shop::open(Mining::OnDemand).await;
    let (other, _) = id_and_address(&shop.create("ORDER-1", "5", "USDT", 3600).await);
    let [assigned, refunded, gone] = spares(&shop, "evm").await;
    pay(&shop, &assigned, 5_000_000).await;
    pay(&shop, &refunded, 7_000_000).await;
    let stray = listed(&shop, "unmatched", 2).await;
    let of = |address: &str| {
        let found = stray.iter().find(|deposit| deposit["to_address"].as_str().unwrap().eq_ignore_ascii_case(address));
        found.unwrap()["deposit"].as_str().unwrap().to_owned()
    };
    let (assigned, refunded) = (of(&assigned), of(&refunded));
    shop.gateway.run_json(&["deposits", "assign", &assigned, &other, "--reason", "his other wallet", "--json"]);
    let hash = format!("0x{}", "cd".repeat(32));
    shop.gateway.run_json(&["deposits", "refund", &refunded, "--transaction", &hash, "--reason", "r", "--json"]);
    pay(&shop, &gone, 9_000_000).await;
    listed(&shop, "unmatched", 1).await;
    shop.chain.reorg(CONFIRMATIONS).await;
    shop.chain.mine(1).await;
    let orphaned = async || {
        let list = shop.gateway.run_json(&["deposits", "list", "--state", "orphaned", "--json"]);
        list["deposits"].as_array().unwrap().iter().any(|one| one["amount_minor"] == "9000000").then_some(())
    };
    eventually("the orphaned deposit", PATIENCE, orphaned).await;

    let head: i64 =
        sqlx::query_scalar("SELECT position FROM ledger_head").fetch_one(&shop.database.pool).await.unwrap();
    eventually("the journal", PATIENCE, async || {
        let reached: i64 = sqlx::query_scalar("SELECT position FROM follower_checkpoints WHERE name = 'projections'")
            .fetch_optional(&shop.database.pool)
            .await
            .unwrap()?;
        (reached >= head).then_some(())
    })
    .await;
    let positions: Vec<i64> = sqlx::query_scalar(
        "SELECT position FROM events
         WHERE (aggregate_type = 'deposit' OR event_type = 'DepositAssigned') AND position <= $1
         ORDER BY position",
    )
    .bind(head)
    .fetch_all(&shop.database.pool)
    .await
    .unwrap();
    assert!(positions.len() >= 7, "{positions:?}");
    for position in positions.iter().copied().chain([head]) {
        assert_eq!(replayed(&shop, position).0, journal(&shop, position).await, "as of {position}");
    }
    let (sums, states) = replayed(&shop, head);
    assert_eq!(states, json!({ "assigned": 1, "orphaned": 1, "refunded": 1 }));
    let suspense = sums.iter().find(|line| line[0] == "suspense").unwrap();
    assert_eq!((&suspense[2], &suspense[3]), (&"21000000".to_owned(), &"21000000".to_owned()), "nothing is left in it");

    let history = shop.gateway.run_json(&["audit", "replay", "--deposit", &assigned, "--json"]);
    let steps: Vec<_> = history["steps"].as_array().unwrap().iter().map(|step| &step["event_type"]).collect();
    assert_eq!(steps, ["UnmatchedDepositRecorded", "UnmatchedDepositAssigned"]);
    let id = history["aggregate_id"].as_str().unwrap();
    assert_eq!(shop.gateway.run_json(&["audit", "replay", "--deposit", id, "--json"]), history);
    let explained = String::from_utf8(shop.gateway.run(&["audit", "explain", &other]).stdout).unwrap();
    let said = "an operator decided that it is this payment's: \"his other wallet\"";
    assert!(explained.contains(said) && explained.contains("which no payment claimed"), "{explained}");
    let paused = shop.gateway.run(&["chains", "pause", "ethereum", "--reason", "upgrade"]);
    assert!(paused.status.success(), "{paused:?}");
    let chain = shop.gateway.run_json(&["audit", "replay", "--chain", "ethereum", "--json"]);
    assert_eq!(chain["steps"][0]["event_type"], "ChainPaused", "{chain}");
}
