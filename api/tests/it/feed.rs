//! Events over HTTP: a merchant's own without a gap, the whole log for the house.

use serde_json::Value;
use serde_json::value::RawValue;
use wopay_domain::access::AccessRole;

use crate::books::books;
use crate::support::api;

#[tokio::test]
async fn a_merchants_feed_has_no_gap_and_nothing_of_others() {
    let books = books().await;
    for merchant in [&books.shop, &books.other] {
        let (mut after, mut events) = (0, Vec::new());
        loop {
            let page = books.seen_by(&merchant.api_key, &format!("/api/v1/events?after={after}&limit=2")).await;
            events.extend(page["data"].as_array().unwrap().clone());
            after = page["next_after"].as_i64().unwrap();
            if page["has_more"] == false {
                break;
            }
        }
        let numbers: Vec<_> = events.iter().map(|event| event["feed_sequence"].as_i64().unwrap()).collect();
        let count = i64::try_from(events.len()).unwrap();
        assert_eq!(numbers, (1..=count).collect::<Vec<_>>());
        assert_eq!(events[0]["event_type"], "MerchantRegistered");
        assert_eq!(events[0]["aggregate_id"], merchant.id.to_string());
        assert!(events.iter().all(|event| event["aggregate_type"] != "access_key"));

        let nothing = books.seen_by(&merchant.api_key, &format!("/api/v1/events?after={after}")).await;
        assert_eq!((&nothing["data"], &nothing["next_after"]), (&Value::Array(Vec::new()), &after.into()));
        books.api.payment(merchant, "later").await;
        books.api.project().await;
        let next = books.seen_by(&merchant.api_key, &format!("/api/v1/events?after={after}")).await;
        assert_eq!(next["data"][0]["event_type"], "PaymentCreated");
        assert_eq!(next["next_after"], after + 1);
    }
}

#[tokio::test]
async fn the_house_reads_the_log_line_by_line_as_it_is_sealed() {
    #[derive(serde::Deserialize)]
    struct Rows<'a> {
        #[serde(borrow)]
        data: Vec<&'a RawValue>,
    }
    let books = books().await;
    let answer = books.api.ask(Some(&books.finance.key), "/api/v1/events?limit=1000", &[]).await;
    let rows: Rows<'_> = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(i64::try_from(rows.data.len()).unwrap(), books.head);
    let chunk = wopay_eventbus::log::scan(&books.api.db.pool, 0, books.head).next().await.unwrap().unwrap();
    for (row, event) in rows.data.iter().zip(chunk.iter()) {
        assert_eq!(row.get().as_bytes(), wopay_audit::leaf::line(&event));
    }
    let kinds = books.seen("/api/v1/events?after=2").await;
    assert_eq!(kinds["data"][0]["position"], 3);
}

#[tokio::test]
async fn the_log_is_read_without_the_read_side() {
    let api = api().await;
    let finance = api.house(AccessRole::Finance).await;
    let answer = api.ask(Some(&finance.key), "/api/v1/events", &[]).await.json();
    assert_eq!(answer["as_of_position"], 1, "nothing is projected");
    insta::assert_json_snapshot!("event_of_the_house", answer["data"][0], {
        ".aggregate_id" => "[key]", ".payload.AccessKeyIssued.key_id" => "[key]", ".payload.AccessKeyIssued.at" => "[time]",
        ".recorded_at" => "[time]",
    });
}
