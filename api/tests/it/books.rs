//! A small set of books, and what every answer about them must be.

use chrono::{DateTime, Utc};
use serde_json::Value;
use serde_json::value::RawValue;
use wopay_domain::access::AccessRole;
use wopay_domain::payment::{DepositStage, PaymentCommand, RequestRefund};
use wopay_domain::{AssetId, ChainName, Money, PaymentId, RefundId};

use crate::support::{HouseKey, TestApi, TestMerchant, USDT_ETHEREUM, api, members};

/// Two merchants: one with 100.50 USDT confirmed on 1 March and 25 more on 2 April, of which 10 go back; one with
/// 7 USDT seen and 3 confirmed.
pub(crate) struct Books {
    pub(crate) api: TestApi,
    pub(crate) shop: TestMerchant,
    pub(crate) other: TestMerchant,
    pub(crate) finance: HouseKey,
    pub(crate) auditor: HouseKey,
    pub(crate) payment: PaymentId,
    /// The position of the shop's first confirmed deposit.
    pub(crate) first_confirmed: i64,
    /// The position of the newest event.
    pub(crate) head: i64,
}

pub(crate) fn usdt() -> AssetId {
    let chain: ChainName = "ethereum".parse().unwrap();
    AssetId::token(&chain, USDT_ETHEREUM).unwrap()
}

fn money(minor: u128) -> Money {
    Money::new(minor, usdt())
}

pub(crate) fn time(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

pub(crate) async fn books() -> Books {
    let api = api().await;
    let (shop, other) = (api.merchant().await, api.merchant().await);
    let (finance, auditor) = (api.house(AccessRole::Finance).await, api.house(AccessRole::Auditor).await);
    let (seen, confirmed) = (DepositStage::Seen { confirmations: 1 }, DepositStage::Confirmed { confirmations: 12 });
    let (march, april) = (time("2026-03-01T12:00:00Z"), time("2026-04-02T06:30:00Z"));

    let payment = api.payment(&shop, "1").await;
    api.deposit_in(payment, "a1", money(100_500_000), 10, march, seen).await;
    api.deposit_in(payment, "a1", money(100_500_000), 10, march, confirmed).await;
    let first_confirmed = position_of(&api, "DepositConfirmed").await;
    let second = api.payment(&shop, "2").await;
    api.deposit_in(second, "a2", money(25_000_000), 20, april, seen).await;
    api.deposit_in(second, "a2", money(25_000_000), 20, april, confirmed).await;
    refund(&api, payment, 10_000_000).await;

    let theirs = api.payment(&other, "1").await;
    api.deposit_in(theirs, "b1", money(3_000_000), 21, april, confirmed).await;
    api.deposit_in(theirs, "b2", money(7_000_000), 22, april, seen).await;
    let head = api.project().await;
    Books { api, shop, other, finance, auditor, payment, first_confirmed, head }
}

async fn position_of(api: &TestApi, event_type: &str) -> i64 {
    let newest = "SELECT max(position) FROM events WHERE event_type = $1";
    sqlx::query_scalar(newest).bind(event_type).fetch_one(&api.db.pool).await.unwrap()
}

async fn refund(api: &TestApi, payment: PaymentId, minor: u128) {
    let request = PaymentCommand::RequestRefund(Box::new(RequestRefund {
        refund_id: RefundId::from_uuid(uuid::Uuid::now_v7()),
        amount: money(minor),
        to: "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed".to_owned(),
        reason: "returned".to_owned(),
        at: Utc::now(),
    }));
    api.ledger.execute_payment(payment, request, &wopay_domain::Metadata::system("test")).await.unwrap();
}

impl Books {
    /// What finance sees.
    pub(crate) async fn seen(&self, path: &str) -> Value {
        self.seen_by(&self.finance.key, path).await
    }

    pub(crate) async fn seen_by(&self, key: &str, path: &str) -> Value {
        let answer = self.api.ask(Some(key), path, &[]).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }

    /// A text without what differs from run to run.
    pub(crate) fn redacted(&self, text: &str) -> String {
        let names = [(self.shop.id.to_string(), "[shop]"), (self.other.id.to_string(), "[other]")];
        names.iter().fold(text.to_owned(), |text, (id, name)| text.replace(id, name))
    }
}

/// Asks for the same in JSON and as a table, twice, and checks that both say the same in the same order.
pub(crate) async fn assert_same_in_both(api: &TestApi, key: &str, path: &str) -> usize {
    #[derive(serde::Deserialize)]
    struct Rows<'a> {
        #[serde(borrow)]
        data: Vec<&'a RawValue>,
    }
    let json = api.ask(Some(key), path, &[("accept", "application/json")]).await;
    assert_eq!(json.status, 200, "{path}: {}", json.text);
    assert_eq!(
        (&json.headers["content-type"], &json.headers["vary"]),
        (&"application/json".parse().unwrap(), &"accept".parse().unwrap())
    );
    let rows: Rows<'_> = serde_json::from_str(&json.text).unwrap();
    let joined = if path.contains('?') { "&" } else { "?" };
    let by_name = api.ask(Some(key), &format!("{path}{joined}format=csv"), &[]).await;
    let by_header = api.ask(Some(key), path, &[("accept", "text/csv")]).await;
    assert_eq!(by_name.text, by_header.text, "{path}");
    let table = by_header.table();
    let (header, lines) = table.split_first().unwrap();
    assert_eq!(lines.len(), rows.data.len(), "{path}");
    for (row, line) in rows.data.iter().zip(lines) {
        let object: Value = serde_json::from_str(row.get()).unwrap();
        // A member that is left out is an empty cell.
        let named: Vec<_> = header.iter().filter(|column| object.get(column.as_str()).is_some()).cloned().collect();
        assert_eq!(members(row.get()), named, "{path}");
        for (column, cell) in header.iter().zip(line) {
            assert!(same(column, &object[column], cell), "{path}: {column}: {} and {cell:?}", object[column]);
        }
    }
    assert_eq!(by_header.headers["x-as-of-position"], json.json()["as_of_position"].to_string());
    lines.len()
}

fn same(column: &str, value: &Value, cell: &str) -> bool {
    match value {
        Value::Null => cell.is_empty(),
        Value::String(text) if column.ends_with("_at") || column == "period_start" => time(text) == time(cell),
        Value::String(text) => text == cell || format!("'{text}") == cell,
        Value::Object(_) => serde_json::from_str::<Value>(cell).unwrap() == *value,
        other => {
            let shown = other.to_string();
            shown == cell
        }
    }
}
