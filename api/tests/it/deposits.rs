//! Money that counts for no payment, for the house alone.

use chrono::{SubsecRound as _, Utc};
use serde_json::{Value, json};
use wopay_domain::access::AccessRole;
use wopay_domain::deposit::RefundUnmatched;
use wopay_domain::payment::{DepositReport, DepositStage};
use wopay_domain::{BlockRef, DepositId, DepositKey, DepositLeg, Metadata, Money};

use crate::books::{time, usdt};
use crate::support::{HouseKey, TestApi, api};

const STRAY: &str = "0x00000000000000000000000000000000000000aa";

fn key(number: u64) -> DepositKey {
    DepositKey { chain: "ethereum".parse().unwrap(), transaction: format!("0x{number}"), leg: DepositLeg::Log(0) }
}

/// Confirmed USDT in the block of this number, of nobody.
async fn stray(api: &TestApi, number: u64, minor: u128) {
    let at = time("2026-03-01T12:00:00Z") + chrono::TimeDelta::days(i64::try_from(number).unwrap());
    let report = DepositReport {
        deposit: key(number),
        revision: number,
        amount: Money::new(minor, usdt()),
        from: None,
        block: BlockRef { number, hash: format!("0xb{number}"), time: at },
        stage: DepositStage::Confirmed { confirmations: 12 },
        at,
    };
    api.ledger.observe_unmatched(STRAY, &report, &Metadata::system("watchers/ethereum")).await.unwrap();
}

async fn dust(api: &TestApi) {
    sqlx::query(
        "INSERT INTO deposit_observations
             (chain, tx_hash, leg, address, asset, amount_minor, block_number, block_hash, block_time, stage, kind)
         VALUES ('ethereum', '0xd', 'log:0', $1, $2, 5, 9, '0xb9', '2026-02-01T00:00:00Z', 'confirmed', 'dust')",
    )
    .bind(STRAY)
    .bind(usdt().as_str())
    .execute(&api.db.pool)
    .await
    .unwrap();
}

async fn listed(api: &TestApi, reader: &HouseKey, query: &str) -> Value {
    let answer = api.ask(Some(&reader.key), &format!("/api/v1/deposits{query}"), &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

/// Name, state and amount of each.
fn brief(page: &Value) -> Vec<[String; 3]> {
    let rows = page["data"].as_array().unwrap().iter();
    rows.map(|row| ["deposit", "state", "amount"].map(|name| row[name].as_str().unwrap().to_owned())).collect()
}

#[tokio::test]
async fn the_house_lists_odd_money_and_merchants_do_not() {
    let api = api().await;
    let merchant = api.merchant().await;
    let (finance, auditor) = (api.house(AccessRole::Finance).await, api.house(AccessRole::Auditor).await);
    api.payment(&merchant, "1").await;
    stray(&api, 1, 5_000_000).await;
    stray(&api, 2, 7_250_000).await;
    let refund = RefundUnmatched {
        transaction: "0xfeed".to_owned(),
        network_fee: None,
        reason: "nobody knows what for".to_owned(),
        at: Utc::now().trunc_subsecs(6),
    };
    api.ledger.refund_unmatched(DepositId::of(&key(2)), refund, &Metadata::system("test")).await.unwrap();
    dust(&api).await;
    api.project().await;

    for reader in [&finance, &auditor] {
        let all = listed(&api, reader, "").await;
        let expected = [
            ["ethereum:0x2:log:0", "refunded", "7.250000"].map(str::to_owned),
            ["ethereum:0x1:log:0", "unmatched", "5.000000"].map(str::to_owned),
            ["ethereum:0xd:log:0", "dust", "0.000005"].map(str::to_owned),
        ];
        assert_eq!(brief(&all), expected);
        let row = &all["data"][0];
        assert_eq!(row["decision_reason"], "nobody knows what for");
        assert_eq!(row["decision_transaction"], "0xfeed");
        assert_eq!((&row["is_confirmed"], &row["payment_id"]), (&json!(true), &Value::Null));
        let first = listed(&api, reader, "?limit=2").await;
        let next = first["next_cursor"].as_str().unwrap();
        let second = listed(&api, reader, &format!("?limit=2&cursor={next}")).await;
        assert_eq!([brief(&first), brief(&second)].concat(), expected);
        assert_eq!(brief(&listed(&api, reader, "?state=dust").await), expected[2..]);
        assert!(brief(&listed(&api, reader, "?blockchain=bsc").await).is_empty());
        let csv = api.ask(Some(&reader.key), "/api/v1/deposits?format=csv", &[]).await;
        assert!(csv.text.starts_with("deposit,state,hold_reason") && csv.text.lines().count() == 4, "{}", csv.text);
        api.ask(Some(&reader.key), "/api/v1/deposits?state=lost", &[]).await.problem(400, "invalid_query");
    }
    api.ask(Some(&merchant.api_key), "/api/v1/deposits", &[]).await.problem(403, "forbidden");
    api.ask(None, "/api/v1/deposits", &[]).await.problem(401, "unauthorized");
    api.ask(Some("wa_test_nobody"), "/api/v1/deposits", &[]).await.problem(401, "unauthorized");
}
