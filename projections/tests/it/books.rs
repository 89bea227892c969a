//! What holds for the books of every history, at every position and at every effective time.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::PgPool;
use wopay_domain::ledger::{self, Account, Layer, Side};
use wopay_domain::payment::PaymentEvent;
use wopay_domain::{AssetId, LedgerEvent, RecordedEvent, Timestamp};
use wopay_projections::journal::{self, AccountFilter, Balance, EntryFilter, EntryRow, LineCursor, StatementRequest};
use wopay_projections::{AsOfPoint, MinorTotal, Period, Scope, TimeAxis};

use crate::support::{TestLedger, run, steps};

type Books = BTreeMap<(Account, AssetId), Balance>;

/// A line of the journal as the domain makes it.
struct Line {
    position: i64,
    effective_at: Timestamp,
    releases: bool,
    posting: ledger::Posting,
}

fn lines(events: &[RecordedEvent]) -> Vec<Line> {
    let mut lines = Vec::new();
    for recorded in events {
        let event = recorded.decode().unwrap();
        let effective_at = ledger::effective_at(&event);
        let ends = matches!(
            event,
            LedgerEvent::Payment(
                PaymentEvent::DepositConfirmed(_)
                    | PaymentEvent::DepositOrphaned(_)
                    | PaymentEvent::RefundCompleted(_)
                    | PaymentEvent::RefundCancelled(_)
            )
        );
        for posting in ledger::postings(&event) {
            let releases = ends && posting.layer == Layer::Pending;
            lines.push(Line { position: recorded.position, effective_at, releases, posting });
        }
    }
    lines
}

/// The books that these lines make, added up one by one.
fn add_up<'a>(lines: impl Iterator<Item = &'a Line>) -> Books {
    let mut books = Books::new();
    for Line { releases, posting, .. } in lines {
        let key = (posting.account.clone(), posting.amount.asset().clone());
        let balance = books.entry(key).or_default();
        let amount = MinorTotal::from(posting.amount.minor());
        match (posting.layer, posting.side) {
            (Layer::Posted, Side::Debit) => balance.posted_debit = balance.posted_debit.plus(amount),
            (Layer::Posted, Side::Credit) => balance.posted_credit = balance.posted_credit.plus(amount),
            (Layer::Pending, Side::Debit) if *releases => {
                balance.pending_credit = balance.pending_credit.minus(amount);
            }
            (Layer::Pending, Side::Credit) if *releases => {
                balance.pending_debit = balance.pending_debit.minus(amount);
            }
            (Layer::Pending, Side::Debit) => balance.pending_debit = balance.pending_debit.plus(amount),
            (Layer::Pending, Side::Credit) => balance.pending_credit = balance.pending_credit.plus(amount),
        }
    }
    books.retain(|_, balance| *balance != Balance::default());
    books
}

/// All accounts, in pages of three.
async fn books(pool: &PgPool, scope: Scope, point: AsOfPoint) -> Books {
    let mut books = Books::new();
    let mut cursor = None;
    loop {
        let filter = AccountFilter::default();
        let page = journal::accounts(pool, scope, &filter, point, cursor.as_ref(), 3).await.unwrap();
        for row in page.items {
            assert_eq!(books.insert((row.account, row.asset.id), row.balance), None);
        }
        let Some(next) = page.next else { return books };
        cursor = Some(next.to_string().parse().unwrap());
    }
}

async fn assert_trial_balance(pool: &PgPool, point: AsOfPoint, expected: &Books) {
    let mut totals: BTreeMap<AssetId, Balance> = BTreeMap::new();
    for ((_, asset), balance) in expected {
        let total = totals.entry(asset.clone()).or_default();
        *total = total.plus(balance);
    }
    let trial = journal::trial_balance(pool, point).await.unwrap().value;
    for books in &trial {
        assert!(books.is_balanced(), "{books:?}");
    }
    let shown: BTreeMap<AssetId, Balance> = trial.into_iter().map(|books| (books.asset.id, books.total)).collect();
    assert_eq!(shown, totals);
}

fn assert_available(books: &Books) {
    for ((account, _), balance) in books {
        let normal = account.normal_side();
        assert_eq!(balance.available(normal), balance.posted(normal).minus(balance.pending_out(normal)));
        assert!(!balance.pending_in(normal).is_negative() && !balance.pending_out(normal).is_negative());
    }
}

fn property<S: Strategy>(cases: u32, strategy: S, property: impl AsyncFn(S::Value)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&strategy, |value| {
        runtime.block_on(property(value));
        Ok(())
    });
    outcome.unwrap();
}

/// At every position the trial balance is zero, what is available is what is posted less what is pending, and the books as
/// of then are those that the events up to there make, and those that were shown when the ledger stood there.
#[test]
fn as_of_a_position_is_the_replay_of_the_prefix() {
    property(16, (steps(), 1_i64..5), async |(steps, size): (Vec<_>, i64)| {
        let mut ledger = TestLedger::new().await;
        run(&mut ledger.book, &steps);
        ledger.write().await;
        let mut shown = BTreeMap::new();
        while crate::support::project_once(&ledger.pool, &ledger.handler(), size).await.unwrap() {
            let page = journal::trial_balance(&ledger.pool, AsOfPoint::NOW).await.unwrap();
            shown.insert(page.as_of_position, books(&ledger.pool, Scope::All, AsOfPoint::NOW).await);
        }
        let events = ledger.events().await;
        let lines = lines(&events);
        for position in 0..=i64::try_from(events.len()).unwrap() {
            let expected = add_up(lines.iter().filter(|line| line.position <= position));
            let point = AsOfPoint::position(position);
            assert_eq!(books(&ledger.pool, Scope::All, point).await, expected, "as of {position}");
            assert_trial_balance(&ledger.pool, point, &expected).await;
            assert_available(&expected);
            if let Some(shown) = shown.get(&position) {
                assert_eq!(*shown, expected, "when the ledger stood at {position}");
            }
        }
    });
}

/// By effective time, as of any position.
#[test]
fn as_of_an_effective_time_is_the_sum_of_what_had_taken_effect() {
    let moments = prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), -1_i64..2), 1..12);
    property(24, (steps(), moments), async |(steps, moments): (Vec<_>, Vec<_>)| {
        let mut ledger = TestLedger::new().await;
        run(&mut ledger.book, &steps);
        ledger.write().await;
        ledger.project_in(&[7, 3]).await;
        let events = ledger.events().await;
        let lines = lines(&events);
        if lines.is_empty() {
            return;
        }
        for (position, line, micros) in moments {
            let position = i64::try_from(position.index(events.len() + 1)).unwrap();
            let effective = shifted(line.get(&lines).effective_at, micros);
            let point = AsOfPoint { position: Some(position), recorded: None, effective: Some(effective) };
            let counts = |line: &&Line| line.position <= position && line.effective_at <= effective;
            let expected = add_up(lines.iter().filter(counts));
            assert_eq!(books(&ledger.pool, Scope::All, point).await, expected, "{point:?}");
            assert_trial_balance(&ledger.pool, point, &expected).await;
            for ((account, asset), balance) in &expected {
                let one = journal::balance(&ledger.pool, account, asset, point).await.unwrap();
                assert_eq!((one.as_of_position, one.value), (position, *balance));
            }
        }
    });
}

/// Opening plus lines is closing, whatever the period and whichever clock, in pages of any size; the opening and closing are
/// the balances of those moments.
#[test]
fn a_statement_adds_up() {
    let ends = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), -1_i64..2);
    let strategy = (steps(), ends, any::<bool>(), 1_u16..6);
    property(24, strategy, async |(steps, (from, to, micros), recorded, limit): (Vec<_>, _, bool, u16)| {
        let mut ledger = TestLedger::new().await;
        run(&mut ledger.book, &steps);
        ledger.project().await;
        let events = ledger.events().await;
        let axis = if recorded { TimeAxis::Recorded } else { TimeAxis::Effective };
        let time = |index: &prop::sample::Index| {
            let event = index.get(&events);
            if recorded { event.recorded_at } else { ledger::effective_at(&event.decode().unwrap()) }
        };
        let (from, to) = (shifted(time(&from), micros), time(&to));
        let period = Period { axis, from: Some(from), to: Some(to.max(from)) };
        for ((account, asset), _) in books(&ledger.pool, Scope::All, AsOfPoint::NOW).await {
            for layer in [None, Some(Layer::Posted)] {
                let as_of = AsOfPoint::NOW;
                let request = StatementRequest { account: account.clone(), asset: asset.clone(), period, layer, as_of };
                assert_statement(&ledger.pool, &request, limit).await;
            }
            let always = Period { axis, from: None, to: None };
            let as_of = AsOfPoint::NOW;
            let request = StatementRequest { account, asset, period: always, layer: None, as_of };
            let lines = assert_statement(&ledger.pool, &request, limit).await;
            let filter = EntryFilter {
                account: Some(request.account.clone()),
                asset: Some(request.asset.clone()),
                ..EntryFilter::default()
            };
            let entries = entries(&ledger.pool, &filter, limit).await;
            let places = |lines: &[EntryRow]| {
                let mut places: Vec<_> = lines.iter().map(|line| (line.position, line.line)).collect();
                places.sort_unstable();
                places
            };
            assert_eq!(places(&lines), places(&entries));
        }
    });
}

async fn assert_statement(pool: &PgPool, request: &StatementRequest, limit: u16) -> Vec<EntryRow> {
    let mut lines: Vec<EntryRow> = Vec::new();
    let mut cursor: Option<LineCursor> = None;
    let (opening, closing) = loop {
        let page = journal::statement(pool, request, cursor.as_ref(), limit).await.unwrap();
        assert!(page.lines.len() <= usize::from(limit));
        lines.extend(page.lines);
        let Some(next) = page.next else { break (page.opening, page.closing) };
        cursor = Some(next.to_string().parse().unwrap());
    };
    let mut balance = opening;
    for line in &lines {
        let amount = MinorTotal::from(line.amount.minor());
        match (line.layer, line.side) {
            (Layer::Posted, Side::Debit) => balance.posted_debit = balance.posted_debit.plus(amount),
            (Layer::Posted, Side::Credit) => balance.posted_credit = balance.posted_credit.plus(amount),
            (Layer::Pending, _) => {
                (balance.pending_debit, balance.pending_credit) =
                    (line.balance.pending_debit, line.balance.pending_credit);
            }
        }
        assert_eq!(
            (line.balance.posted_debit, line.balance.posted_credit),
            (balance.posted_debit, balance.posted_credit)
        );
    }
    assert_eq!((balance.posted_debit, balance.posted_credit), (closing.posted_debit, closing.posted_credit));
    if request.layer.is_none() {
        assert_eq!(balance, closing);
    }
    let before = |moment: Option<Timestamp>| moment.map(|moment| shifted(moment, -1));
    for (end, shown) in [(request.period.from, opening), (request.period.to, closing)] {
        let Some(end) = before(end) else { continue };
        let point = match request.period.axis {
            TimeAxis::Recorded => AsOfPoint { recorded: Some(end), ..AsOfPoint::NOW },
            TimeAxis::Effective => AsOfPoint { effective: Some(end), ..AsOfPoint::NOW },
        };
        let balance = journal::balance(pool, &request.account, &request.asset, point).await.unwrap();
        assert_eq!(balance.value, shown, "{point:?}");
    }
    lines
}

async fn entries(pool: &PgPool, filter: &EntryFilter, limit: u16) -> Vec<EntryRow> {
    let mut entries = Vec::new();
    let mut cursor: Option<LineCursor> = None;
    loop {
        let page = journal::entries(pool, Scope::All, filter, AsOfPoint::NOW, cursor.as_ref(), limit).await.unwrap();
        entries.extend(page.items);
        let Some(next) = page.next else { return entries };
        cursor = Some(next);
    }
}

fn shifted(moment: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_timestamp_micros(moment.timestamp_micros() + micros).unwrap()
}
