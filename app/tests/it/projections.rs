//! The read side under way: rebuilt, checked, upgraded, and all that beside a gateway that goes on.

use std::process::Stdio;
use std::time::Duration;

use sqlx::PgPool;
use wopay_testkit::{Mining, eventually};

use crate::shop::{CONFIRMATIONS, PATIENCE, Shop, id_and_address};

/// How many read models there are.
const MODELS: usize = 6;

/// Every read model's rows as text, in a fixed order.
pub(crate) async fn rows(pool: &sqlx::PgPool) -> Vec<String> {
    let mut rows = Vec::new();
    let tables = [
        "merchants",
        "payments",
        "blockchain_transactions",
        "unmatched_deposits",
        "account_balances",
        "ledger_postings",
    ];
    for table in tables {
        let sql = format!("SELECT '{table} ' || t::text FROM {table} AS t ORDER BY 1");
        rows.extend(sqlx::query_scalar::<_, String>(&sql).fetch_all(pool).await.unwrap());
    }
    rows
}

/// Four payments of 10: one of them got less, the others are completed, one with more. All of it is projected.
async fn trade(shop: &Shop) {
    let payer = shop.payer().to_owned();
    for number in 0_u128..4 {
        let created = shop.create(&format!("ORDER-{number}"), "10", "USDT", 3600).await;
        let (id, address) = id_and_address(&created);
        shop.chain.transfer(&shop.token, &payer, &address, 9_000_000 + number * 1_000_000).await;
        shop.chain.mine(CONFIRMATIONS).await;
        shop.reaches(&id, if number == 0 { "partially_paid" } else { "completed" }).await;
    }
    up_to_date(&shop.database.pool).await;
}

async fn up_to_date(pool: &PgPool) {
    eventually("the projections to be up to date", PATIENCE, async || {
        let behind: bool = sqlx::query_scalar(
            "SELECT (SELECT position FROM ledger_head)
                  > (SELECT position FROM follower_checkpoints WHERE name = 'projections')",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        (!behind).then_some(())
    })
    .await;
}

/// Whether a rebuild waits to swap its finished tables in.
async fn is_waiting_to_switch(pool: &PgPool) -> bool {
    sqlx::query_scalar(
        "SELECT EXISTS (
             SELECT FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'DROP TABLE %')",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_gives_identical_rows_while_the_server_runs() {
    let shop = Shop::open(Mining::OnDemand).await;
    let pool = &shop.database.pool;
    trade(&shop).await;
    let live = rows(pool).await;
    assert!(live.len() > 10, "{live:?}");
    let rebuilt = shop.gateway.run_json(&["projections", "rebuild", "--json"]);
    assert_eq!(rebuilt["rebuilt"].as_array().unwrap().len(), MODELS);
    assert_eq!(rows(pool).await, live);
    shop.gateway.run_json(&["projections", "rebuild", "payments", "--json"]);
    assert_eq!(rows(pool).await, live);
    let unknown = shop.gateway.run(&["projections", "rebuild", "nothing"]);
    assert!(!unknown.status.success());
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no read model is called"));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_check_tell_how_the_read_side_stands() {
    let shop = Shop::open(Mining::OnDemand).await;
    trade(&shop).await;
    let status = shop.gateway.run_json(&["projections", "status", "--json"]);
    assert_eq!((status["lag_events"].as_i64(), status["models"].as_array().unwrap().len()), (Some(0), MODELS));
    assert!(status["models"].as_array().unwrap().iter().all(|model| model["standing"] == "current"), "{status}");
    let text = shop.gateway.run(&["projections", "status"]);
    assert!(String::from_utf8_lossy(&text.stdout).starts_with("Up to date: position "), "{text:?}");

    let clean = shop.gateway.run_json(&["projections", "check", "--json"]);
    assert_eq!(clean["differences"], 0, "{clean}");
    sqlx::query("UPDATE payments SET status = 'completed' WHERE status = 'partially_paid'")
        .execute(&shop.database.pool)
        .await
        .unwrap();
    let found = shop.gateway.run(&["projections", "check", "payments"]);
    let text = String::from_utf8_lossy(&found.stdout);
    assert_eq!(found.status.code(), Some(2), "{found:?}");
    assert!(text.contains("status is \"completed\", the events say \"partially_paid\""), "{text}");
    shop.gateway.run_json(&["projections", "rebuild", "payments", "--json"]);
    assert_eq!(shop.gateway.run_json(&["projections", "check", "--json"])["differences"], 0);
}

/// After an upgrade that changed a read model, the start rebuilds it. Until the new rows are complete, readers get the old
/// ones, all of them; and nobody hears anything twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_rebuilds_at_the_start_and_nobody_notices() {
    let mut shop = Shop::open(Mining::OnDemand).await;
    trade(&shop).await;
    let pool = shop.database.pool.clone();
    let live = rows(&pool).await;
    let told = shop.receiver.received().len();
    assert_eq!(shop.gateway.stop().await, 0);
    // Rows as an older version made them.
    for statement in [
        "UPDATE projection_versions SET version = 0 WHERE model IN ('payments', 'journal')",
        "UPDATE payments SET status = 'pending'",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    // A reader who will not let go keeps the finished tables from being swapped in.
    let mut reader = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM payments").execute(&mut *reader).await.unwrap();
    shop.gateway.launch(&[]);
    eventually("the rebuild to be finished but for the switch", PATIENCE, async || {
        is_waiting_to_switch(&pool).await.then_some(())
    })
    .await;
    let readiness = shop.client.get(format!("{}/readyz", shop.gateway.url)).send().await.unwrap();
    assert_eq!(readiness.status().as_u16(), 503);
    let text = readiness.text().await.unwrap();
    assert!(text.contains("rebuilding payments, journal"), "{text}");
    let listed = shop.get("/api/v1/payments").await;
    let statuses: Vec<_> = listed["data"].as_array().unwrap().iter().map(|payment| &payment["status"]).collect();
    assert_eq!(statuses, ["pending"; 4], "{listed}");
    reader.rollback().await.unwrap();

    shop.gateway.ready().await;
    assert_eq!(rows(&pool).await, live);
    // What happens next is told once, after all that was told before.
    let created = shop.create("ORDER-9", "10", "USDT", 3600).await;
    let (id, address) = id_and_address(&created);
    shop.chain.transfer(&shop.token, shop.payer(), &address, 10_000_000).await;
    shop.chain.mine(CONFIRMATIONS).await;
    shop.webhook(&id, "payment.completed").await;
    assert_eq!(shop.receiver.received().len(), told + shop.webhooks(&id).len());
    up_to_date(&pool).await;
    assert_eq!(shop.gateway.run_json(&["projections", "check", "--json"])["differences"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_killed_before_the_switch_leaves_the_live_tables() {
    let shop = Shop::open(Mining::OnDemand).await;
    trade(&shop).await;
    let pool = &shop.database.pool;
    let live = rows(pool).await;
    let mut reader = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM payments").execute(&mut *reader).await.unwrap();
    let mut command = shop.gateway.command(&["projections", "rebuild"]);
    let mut rebuild = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the rebuild to be finished but for the switch", PATIENCE, async || {
        is_waiting_to_switch(pool).await.then_some(())
    })
    .await;
    rebuild.kill().unwrap();
    rebuild.wait().unwrap();
    reader.rollback().await.unwrap();
    assert_eq!(rows(pool).await, live);
    // Postgres may take a moment to notice that the connection is gone.
    let rebuilt = eventually("the next rebuild", Duration::from_secs(30), async || {
        let output = shop.gateway.run(&["projections", "rebuild"]);
        let refused = String::from_utf8_lossy(&output.stderr).contains("another rebuild or check");
        (!refused).then_some(output)
    })
    .await;
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    assert_eq!(rows(pool).await, live);
}
