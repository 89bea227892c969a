//! Reports: what they count, and that their parts make the whole.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::PgPool;
use uuid::Uuid;
use wopay_domain::ledger::{self, Account, Side};
use wopay_domain::payment::{CompleteRefund, DepositStage, PaymentCommand, RequestRefund};
use wopay_domain::{AssetId, MerchantId, Money, PaymentId, RefundId, Timestamp};
use wopay_projections::journal::{self, AccountFilter};
use wopay_projections::reports::{self, FeeRow, Granularity, GroupBy, ReportCursor, ReportRequest, VolumeRow};
use wopay_projections::{AsOfPoint, MinorTotal, Period, QueryError, Scope, TimeAxis};

use crate::support::{
    TestLedger, asset, assign_stray, at, block, create, merchant_id, native, report, run, settle, steps,
};

fn request(granularity: Granularity, by: GroupBy) -> ReportRequest {
    ReportRequest {
        scope: Scope::All,
        period: Period::default(),
        granularity,
        by,
        merchant: None,
        asset: None,
        chain: None,
        as_of: AsOfPoint::NOW,
    }
}

/// A whole report, in pages of `limit`.
async fn volume(pool: &PgPool, request: &ReportRequest, limit: u16) -> Vec<VolumeRow> {
    let mut rows = Vec::new();
    let mut cursor: Option<ReportCursor> = None;
    loop {
        let page = reports::volume(pool, request, cursor.as_ref(), limit).await.unwrap();
        rows.extend(page.items);
        let Some(next) = page.next else { return rows };
        cursor = Some(next.to_string().parse().unwrap());
    }
}

async fn fees(pool: &PgPool, request: &ReportRequest) -> Vec<FeeRow> {
    reports::fees(pool, request, None, 100).await.unwrap().items
}

fn payment(ledger: &mut TestLedger, number: u32, merchant: u128) -> PaymentId {
    let id = PaymentId::from_uuid(Uuid::from_u128(u128::from(number)));
    let create = create(id, merchant_id(merchant), &format!("order {number}"), 1_000_000, at(0));
    ledger.book.payment(id, PaymentCommand::Create(Box::new(create))).unwrap();
    id
}

fn refund(ledger: &mut TestLedger, id: PaymentId, minor: u128, at: Timestamp) {
    let refund_id = RefundId::from_uuid(id.as_uuid());
    let request = RequestRefund {
        refund_id,
        amount: Money::new(minor, asset().id),
        to: "0xpayer".to_owned(),
        reason: "returned".to_owned(),
        at,
    };
    ledger.book.payment(id, PaymentCommand::RequestRefund(Box::new(request))).unwrap();
    let network_fee = Some(Money::new(21_000, native()));
    let complete = CompleteRefund { refund_id, transaction: "0xrefund".to_owned(), network_fee, at };
    ledger.book.payment(id, PaymentCommand::CompleteRefund(Box::new(complete))).unwrap();
}

fn orphan(ledger: &mut TestLedger, id: PaymentId, transaction: u32) {
    let amount = Money::new(1_000_000, asset().id);
    let report = report((transaction, 0), 2, amount, block(5, 0), DepositStage::Orphaned);
    ledger.book.payment(id, PaymentCommand::ObserveDeposit(Box::new(report))).unwrap();
}

const DAY_SECONDS: u32 = 24 * 3600;

/// Three sales on the first day (2026-09-21, a Monday), one of them orphaned, one refunded two days later.
async fn trade() -> TestLedger {
    let mut ledger = TestLedger::new().await;
    for number in 1..=3 {
        let id = payment(&mut ledger, number, u128::from(number % 2));
        settle(&mut ledger.book, id, number, 1_000_000);
        match number {
            2 => orphan(&mut ledger, id, number),
            3 => refund(&mut ledger, id, 400_000, at(2 * DAY_SECONDS)),
            _ => {}
        }
    }
    ledger.project().await;
    ledger
}

fn counts(row: &VolumeRow) -> (u64, u64, u64) {
    (row.deposits, row.orphaned, row.refunds)
}

fn amounts(row: &VolumeRow) -> [String; 4] {
    [row.gross, row.taken_back, row.refunded, row.net].map(|amount| row.asset.format(amount).unwrap())
}

#[tokio::test]
async fn volume_counts_what_was_confirmed_taken_back_and_refunded() {
    let ledger = trade().await;
    let pool = &ledger.pool;
    let days = volume(pool, &request(Granularity::Day, GroupBy::Asset), 100).await;
    assert_eq!(days.len(), 2);
    assert_eq!((counts(&days[0]), days[0].merchant), ((3, 1, 0), None));
    assert_eq!(amounts(&days[0]), ["3.000000", "1.000000", "0.000000", "2.000000"]);
    assert_eq!((counts(&days[1]), amounts(&days[1])[3].as_str()), ((0, 0, 1), "-0.400000"));
    let starts: Vec<String> = days.iter().map(|row| row.starts_at.to_rfc3339()).collect();
    assert_eq!(starts, ["2026-09-21T00:00:00+00:00", "2026-09-23T00:00:00+00:00"]);

    for (granularity, starts) in [(Granularity::Week, "2026-09-21"), (Granularity::Month, "2026-09-01")] {
        let rows = volume(pool, &request(granularity, GroupBy::Chain), 100).await;
        assert_eq!(rows.len(), 1);
        assert_eq!(counts(&rows[0]), (3, 1, 1));
        assert!(rows[0].starts_at.to_rfc3339().starts_with(starts), "{rows:?}");
    }
    let merchants = volume(pool, &request(Granularity::Month, GroupBy::Merchant), 1).await;
    let of: Vec<_> = merchants.iter().map(|row| (row.merchant.unwrap(), counts(row))).collect();
    assert_eq!(of, [(merchant_id(0), (1, 1, 0)), (merchant_id(1), (2, 0, 1))]);
    let scope = Scope::Merchant(merchant_id(0));
    let own = ReportRequest { scope, ..request(Granularity::Month, GroupBy::Merchant) };
    assert_eq!(volume(pool, &own, 10).await, [merchants[0].clone()]);
    let foreign = ReportRequest { merchant: Some(merchant_id(1)), ..own };
    assert_eq!(volume(pool, &foreign, 10).await, []);
}

/// What an operator gives to a payment counts, as what goes again from it does: net is what payable grew by, at every
/// position and by both clocks.
#[tokio::test]
async fn money_that_was_assigned_is_volume() {
    let mut ledger = TestLedger::new().await;
    let stray = |transaction, revision, stage| {
        report((transaction, 0), revision, Money::new(1_000_000, asset().id), block(5, 0), stage)
    };
    for number in 1..=3 {
        let id = payment(&mut ledger, number, u128::from(number % 2));
        assign_stray(&mut ledger.book, stray(number, 1, DepositStage::Confirmed { confirmations: 12 }), id);
        match number {
            2 => orphan(&mut ledger, id, number),
            3 => refund(&mut ledger, id, 400_000, at(2 * DAY_SECONDS)),
            _ => {}
        }
    }
    ledger.project().await;
    let pool = &ledger.pool;
    let days = volume(pool, &request(Granularity::Day, GroupBy::Asset), 100).await;
    assert_eq!((counts(&days[0]), counts(&days[1])), ((3, 1, 0), (0, 0, 1)));
    assert_eq!(amounts(&days[0]), ["3.000000", "1.000000", "0.000000", "2.000000"]);
    for position in 0..=ledger.events().await.last().unwrap().position {
        let as_of = AsOfPoint::position(position);
        let expected = payable(pool, as_of).await;
        for axis in [TimeAxis::Recorded, TimeAxis::Effective] {
            let period = Period { axis, from: None, to: None };
            let request = ReportRequest { period, as_of, ..request(Granularity::Day, GroupBy::Merchant) };
            assert_eq!(nets(volume(pool, &request, 100).await), expected, "{axis:?} at {position}");
        }
    }
}

#[tokio::test]
async fn fees_name_the_merchant_for_whom_the_network_was_paid() {
    let ledger = trade().await;
    let rows = fees(&ledger.pool, &request(Granularity::Day, GroupBy::Merchant)).await;
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].merchant, &rows[0].asset.id, rows[0].lines), (Some(merchant_id(1)), &native(), 1));
    assert_eq!((rows[0].service_fees, rows[0].network_fees), (MinorTotal::ZERO, MinorTotal::from(21_000)));
    assert_eq!(rows[0].starts_at.to_rfc3339(), "2026-09-23T00:00:00+00:00");
    let all = fees(&ledger.pool, &request(Granularity::Day, GroupBy::Asset)).await;
    assert_eq!((all[0].merchant, all[0].network_fees), (None, rows[0].network_fees));
    let scope = Scope::Merchant(merchant_id(0));
    let own = ReportRequest { scope, ..request(Granularity::Day, GroupBy::Asset) };
    assert_eq!(fees(&ledger.pool, &own).await, []);
    let position = AsOfPoint::position(1);
    let early = ReportRequest { as_of: position, ..request(Granularity::Day, GroupBy::Asset) };
    assert_eq!(fees(&ledger.pool, &early).await, []);
}

#[tokio::test]
async fn a_moment_that_is_over_is_not_answered_from_half_of_its_events() {
    let mut ledger = trade().await;
    payment(&mut ledger, 9, 0);
    ledger.write().await;
    let events = ledger.events().await;
    let last = events.last().unwrap();
    let as_of = |recorded| AsOfPoint { recorded: Some(recorded), ..AsOfPoint::NOW };
    let lacking = journal::trial_balance(&ledger.pool, as_of(last.recorded_at)).await;
    assert!(matches!(lacking, Err(QueryError::NotReached { position, .. }) if position == last.position));
    let now = journal::trial_balance(&ledger.pool, as_of(Timestamp::MAX_UTC)).await.unwrap();
    assert_eq!(now.as_of_position, last.position - 1);
    ledger.project().await;
    let then = journal::trial_balance(&ledger.pool, as_of(last.recorded_at)).await.unwrap();
    assert_eq!(then.as_of_position, last.position);
}

#[tokio::test]
async fn questions_without_an_answer_say_why() {
    let ledger = trade().await;
    let pool = &ledger.pool;
    let head = journal::trial_balance(pool, AsOfPoint::NOW).await.unwrap().as_of_position;
    let beyond = journal::trial_balance(pool, AsOfPoint::position(head + 1)).await;
    assert!(matches!(beyond, Err(QueryError::NotReached { reached, .. }) if reached == head), "{beyond:?}");
    let two = AsOfPoint { recorded: Some(at(0)), ..AsOfPoint::position(1) };
    assert!(matches!(journal::trial_balance(pool, two).await, Err(QueryError::TwoPoints)));
    let mixed = ReportRequest {
        period: Period { axis: TimeAxis::Recorded, ..Period::default() },
        as_of: AsOfPoint { effective: Some(at(0)), ..AsOfPoint::NOW },
        ..request(Granularity::Day, GroupBy::Asset)
    };
    assert!(matches!(reports::volume(pool, &mixed, None, 10).await, Err(QueryError::MixedAxes)));
    let long_ago = AsOfPoint { recorded: Some(Timestamp::MIN_UTC), ..AsOfPoint::NOW };
    let nothing = journal::trial_balance(pool, long_ago).await.unwrap();
    assert_eq!((nothing.as_of_position, nothing.value), (0, vec![]));
    let later = AsOfPoint { recorded: Some(Timestamp::MAX_UTC), effective: Some(Timestamp::MAX_UTC), position: None };
    let everything = journal::trial_balance(pool, later).await.unwrap();
    assert_eq!(everything, journal::trial_balance(pool, AsOfPoint::NOW).await.unwrap());
}

type Nets = BTreeMap<(MerchantId, AssetId), MinorTotal>;

fn nets(rows: Vec<VolumeRow>) -> Nets {
    let mut nets = Nets::new();
    for row in rows {
        assert_eq!(row.net, row.gross.minus(row.taken_back).minus(row.refunded));
        let net = nets.entry((row.merchant.unwrap(), row.asset.id)).or_default();
        *net = net.plus(row.net);
    }
    nets.retain(|_, net| !net.is_zero());
    nets
}

/// What merchants are owed, as of a moment.
async fn payable(pool: &PgPool, point: AsOfPoint) -> Nets {
    let filter = AccountFilter::default();
    let accounts = journal::accounts(pool, Scope::All, &filter, point, None, 100).await.unwrap().items;
    let owed = accounts.into_iter().filter_map(|row| {
        let Account::MerchantPayable(merchant) = row.account else { return None };
        Some(((merchant, row.asset.id), row.balance.posted(Side::Credit)))
    });
    owed.filter(|(_, posted)| !posted.is_zero()).collect()
}

/// Cut anywhere, by either clock and as of any position: the parts of a report make up the whole, and the whole is what
/// merchants are owed.
#[test]
fn net_volume_is_what_merchants_are_owed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let index = any::<prop::sample::Index>;
    let strategy = (steps(), index(), index(), -1_i64..2, any::<bool>());
    let property =
        |(steps, position, cut, micros, recorded): (Vec<_>, prop::sample::Index, prop::sample::Index, _, _)| {
            runtime.block_on(async {
                let mut ledger = TestLedger::new().await;
                run(&mut ledger.book, &steps);
                ledger.project().await;
                let events = ledger.events().await;
                let point = AsOfPoint::position(i64::try_from(position.index(events.len() + 1)).unwrap());
                let event = cut.get(&events);
                let effective_at = ledger::effective_at(&event.decode().unwrap());
                let cut = if recorded { event.recorded_at } else { effective_at };
                let cut = Timestamp::from_timestamp_micros(cut.timestamp_micros() + micros).unwrap();
                let axis = if recorded { TimeAxis::Recorded } else { TimeAxis::Effective };
                let expected = payable(&ledger.pool, point).await;
                let mut parts = Vec::new();
                for (from, to) in [(None, Some(cut)), (Some(cut), None)] {
                    let request = ReportRequest {
                        period: Period { axis, from, to },
                        as_of: point,
                        ..request(Granularity::Day, GroupBy::Merchant)
                    };
                    parts.extend(volume(&ledger.pool, &request, 2).await);
                }
                assert_eq!(nets(parts), expected, "{axis:?} cut at {cut}, {point:?}");
            });
            Ok(())
        };
    runner.run(&strategy, property).unwrap();
}
