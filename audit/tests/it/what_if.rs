//! Another policy over a real log.

use std::time::Duration;

use wopay_audit::replay::Moment;
use wopay_audit::what_if::{Kind, Options, Overrides, Report, what_if};

use crate::story::{Story, at, whole};

async fn report(story: &Story, overrides: Overrides) -> Report {
    let options = Options { overrides, differences_max: 100, ..Options::default() };
    what_if(story.pool(), &options, |_| {}).await.unwrap()
}

fn percent(percent: &str) -> wopay_domain::Percentage {
    serde_json::from_value(serde_json::Value::String(percent.to_owned())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_policy_no_difference() {
    let story = Story::told().await;
    let report = report(&story, Overrides::default()).await;
    assert_eq!((report.payments, report.same, report.not_reproduced), (5, 5, 0));
    assert!(report.differences.is_empty() && report.transitions.is_empty());
    assert!(report.announcements.iter().all(|line| line.recorded == line.what_if));
    assert!(report.money.iter().all(|line| line.recorded == line.what_if));
}

#[tokio::test(flavor = "multi_thread")]
async fn tolerance_deadline_and_fee() {
    let story = Story::told().await;
    let overrides = Overrides {
        tolerance: Some(percent("40")),
        expires_in: Some(Duration::from_secs(7_200)),
        fee: Some(percent("0.5")),
        ..Overrides::default()
    };
    let report = report(&story, overrides).await;
    let ends: Vec<_> =
        report.transitions.iter().map(|line| (line.recorded.as_str(), line.what_if.as_str(), line.payments)).collect();
    assert_eq!(ends, [("completed paid_late", "completed", 1), ("expired underpaid", "completed", 1)]);
    // 100 + 60 + 100 + 0 + 120 confirmed, half a percent of each.
    assert_eq!(report.fees[0].confirmed, whole(380));
    assert_eq!(report.fees[0].fee, 1_900_000);
    // Payment 4 waits an hour longer and does not expire yet; it was reversed either way.
    assert_eq!(report.other_end, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmations_are_bounded_not_guessed() {
    let story = Story::told().await;
    let fewer = Overrides { confirmations: [("bsc".parse().unwrap(), 3)].into(), ..Overrides::default() };
    let fewer = report(&story, fewer).await;
    assert_eq!((fewer.same, fewer.uncertain), (5, 0));
    assert_eq!(fewer.completed_sooner, 4);

    let more = Overrides { confirmations: [("bsc".parse().unwrap(), 30)].into(), ..Overrides::default() };
    let more = report(&story, more).await;
    // Payment 4 was orphaned soon after the head was at 119; whether it had come to 139 by then nobody recorded. Nor
    // whether payment 5 had thirty confirmations when a refund was asked for. Payment 3 certainly has not: the newest
    // event shows the head.
    let uncertain: Vec<_> = more
        .differences
        .iter()
        .filter(|difference| difference.kind == Kind::Uncertain)
        .map(|difference| difference.order_id.as_str())
        .collect();
    assert_eq!(uncertain, ["ORDER-4", "ORDER-5"]);
    let third = more.differences.iter().find(|difference| difference.order_id == "ORDER-3").unwrap();
    assert_eq!((third.kind, third.what_if.in_words().as_str()), (Kind::OtherEnd, "confirming"));
    assert!(more.notes.iter().any(|note| note.contains("bounded")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_period_is_of_payments_created_in_it() {
    let story = Story::told().await;
    let options = Options {
        from: Some(Moment::Time(at(2))),
        to: Some(Moment::Position(4)),
        differences_max: 1,
        ..Options::default()
    };
    let report = what_if(story.pool(), &options, |_| {}).await.unwrap();
    assert_eq!((report.from_position, report.to_position, report.payments), (3, 4, 2));
    assert_eq!(report.as_of_position, story.position());
}
