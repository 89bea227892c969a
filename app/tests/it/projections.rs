//! Rebuilding the read side gives the same rows.

use wopay_testkit::{Mining, eventually};

use crate::shop::{CONFIRMATIONS, PATIENCE, Shop, id_and_address};

/// Every read model's rows as text, in a fixed order.
pub(crate) async fn rows(pool: &sqlx::PgPool) -> Vec<String> {
    let mut rows = Vec::new();
    for table in ["merchants", "payments", "blockchain_transactions", "account_balances", "ledger_postings"] {
        let sql = format!("SELECT '{table} ' || t::text FROM {table} AS t ORDER BY 1");
        rows.extend(sqlx::query_scalar::<_, String>(&sql).fetch_all(pool).await.unwrap());
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_gives_identical_rows_while_the_server_runs() {
    let shop = Shop::open(Mining::OnDemand).await;
    let payer = shop.payer().to_owned();
    for number in 0_u128..4 {
        let created = shop.create(&format!("ORDER-{number}"), "10", "USDT", 3600).await;
        let (id, address) = id_and_address(&created);
        shop.chain.transfer(&shop.token, &payer, &address, 9_000_000 + number * 1_000_000).await;
        shop.chain.mine(CONFIRMATIONS).await;
        shop.reaches(&id, if number == 0 { "partially_paid" } else { "completed" }).await;
    }
    let pool = &shop.database.pool;
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
    let live = rows(pool).await;
    assert!(live.len() > 10, "{live:?}");
    let rebuilt = shop.gateway.run_json(&["projections", "rebuild", "--json"]);
    assert_eq!(rebuilt["rebuilt"].as_array().unwrap().len(), 4);
    assert_eq!(rows(pool).await, live);
    shop.gateway.run_json(&["projections", "rebuild", "payments", "--json"]);
    assert_eq!(rows(pool).await, live);
    let unknown = shop.gateway.run(&["projections", "rebuild", "nothing"]);
    assert!(!unknown.status.success());
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no read model is called"));
}
