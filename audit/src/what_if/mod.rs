//! What-if replay: the same facts under another policy.
//!
//! Each payment's stream is told back into the facts that caused it (its creation, the watchers' reports, cancellations,
//! refunds), and these run through the domain's own rules once more, under other terms. Promises:
//!
//! - **No other policy, no difference.** Under its own policy each payment must announce exactly what it announced; that is
//!   checked for every payment, and one that does not is left out and counted, with the reason.
//! - **No guesses.** When a deposit reached another depth is not always in the events. They bound the moment, by the heads
//!   that other reports name; the payment is then decided twice, with the earliest and the latest moment, and is called
//!   uncertain if these end or announce otherwise.
//! - **Bounded memory.** Payments are read a few hundred at a time, whatever the size of the ledger.
//!
//! What no replay can know: what people would have done. A payer who saw "expired" may not have paid; a merchant may have
//! cancelled. Commands that changed nothing then left no event, and are not told again. A chain's finality setting is
//! not in the events: depth alone decides here.

mod facts;
mod heads;
mod outcome;
mod policy;
mod report;
mod run;
mod store;
#[cfg(test)]
mod tests;

use sqlx::PgPool;
use wopay_domain::{LedgerEvent, PaymentId, RecordedEvent};
use wopay_eventbus::log::scan;

use self::heads::Heads;
use self::outcome::{NotCompared, compare};
use self::report::Summary;
use self::run::World;
use crate::replay::{Moment, Progress, ReplayError, resolve};

pub use self::facts::FactsError;
pub use self::outcome::{Difference, Kind, Outcome};
pub use self::policy::Overrides;
pub use self::report::{Announcements, FeeLine, MoneyLine, NotReproduced, Report, Transition};

/// Payments whose streams are held at once.
const PAYMENTS_AT_ONCE: i64 = 500;

/// Which payments to decide again, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The other policy.
    pub overrides: Overrides,
    /// Payments created from this moment on.
    pub from: Option<Moment>,
    /// Payments created up to this moment, included. What happened to them afterwards counts.
    pub to: Option<Moment>,
    /// How many differences to list.
    pub differences_max: usize,
}

/// Decides the payments of a period again under another policy.
///
/// # Errors
/// The database fails or an event cannot be read. A payment whose facts are not understood is no error: it is counted.
pub async fn what_if(pool: &PgPool, options: &Options, progress: impl Fn(Progress)) -> Result<Report, ReplayError> {
    let as_of = resolve(pool, None).await?;
    let from = match options.from {
        Some(moment) => resolve_from(pool, moment).await?,
        None => 1,
    };
    let to = match options.to {
        Some(moment) => resolve(pool, Some(moment)).await?.position,
        None => as_of.position,
    };
    let needs_heads = !options.overrides.confirmations.is_empty();
    let passes = if needs_heads { 2 } else { 1 };
    let heads =
        if needs_heads { learn_heads(pool, as_of.position, passes, &progress).await? } else { Heads::default() };
    let world = World { overrides: &options.overrides, heads: &heads, horizon: as_of.recorded_at };

    let mut summary = Summary::new(empty_report(options, from, to, as_of), options.differences_max);
    let mut after = from.saturating_sub(1);
    loop {
        let created = store::created_payments(pool, after, to, PAYMENTS_AT_ONCE).await?;
        let Some((last, _)) = created.last() else { break };
        after = *last;
        let ids: Vec<String> = created.into_iter().map(|(_, id)| id).collect();
        for stream in in_streams(store::streams(pool, &ids, as_of.position).await?) {
            decide_again(&stream, world, &mut summary)?;
        }
        progress(Progress { position: after, target: to, pass: passes, passes });
        tokio::task::yield_now().await;
    }
    Ok(summary.finish())
}

fn decide_again(stream: &[RecordedEvent], world: World<'_>, summary: &mut Summary) -> Result<(), ReplayError> {
    let Some(first) = stream.first() else { return Ok(()) };
    let payment_id: PaymentId = first.aggregate_id.parse().map_err(|_| ReplayError::Id(first.aggregate_id.clone()))?;
    let mut events = Vec::with_capacity(stream.len());
    for event in stream {
        if let LedgerEvent::Payment(event) = event.decode()? {
            events.push(event);
        }
    }
    match compare(events, world) {
        Ok(compared) => summary.add(compared)?,
        Err(error @ (NotCompared::Facts(_) | NotCompared::NotReproduced(_))) => {
            summary.left_out(payment_id, error.to_string());
        }
    }
    Ok(())
}

/// The events of several streams, one after the other, as one list each.
fn in_streams(events: Vec<RecordedEvent>) -> Vec<Vec<RecordedEvent>> {
    let mut streams: Vec<Vec<RecordedEvent>> = Vec::new();
    for event in events {
        match streams.last_mut() {
            Some(stream) if stream.first().is_some_and(|first| first.aggregate_id == event.aggregate_id) => {
                stream.push(event);
            }
            _ => streams.push(vec![event]),
        }
    }
    streams
}

/// The first pass: how far each chain had come, and when.
async fn learn_heads(pool: &PgPool, upto: i64, passes: u8, progress: &impl Fn(Progress)) -> Result<Heads, ReplayError> {
    let mut heads = Heads::default();
    let mut events = scan(pool, 0, upto);
    while let Some(chunk) = events.next().await? {
        let mut position = 0;
        for event in chunk.iter() {
            position = event.position;
            let tells_nothing = event.aggregate_type != wopay_domain::payment::AGGREGATE_TYPE
                || matches!(event.event_type, "PaymentCreated" | "DepositOrphaned" | "PaymentExpired");
            if tells_nothing {
                continue;
            }
            if let LedgerEvent::Payment(payment) = event.decode()? {
                heads.learn(event.aggregate_id, &payment);
            }
        }
        progress(Progress { position, target: upto, pass: 1, passes });
    }
    Ok(heads)
}

/// The first position at or after a moment.
async fn resolve_from(pool: &PgPool, moment: Moment) -> Result<i64, ReplayError> {
    Ok(match moment {
        Moment::Position(position) => position.max(1),
        Moment::Time(_) => crate::replay::first_at_or_after(pool, moment).await?,
    })
}

fn empty_report(options: &Options, from: i64, to: i64, as_of: crate::replay::AsOf) -> Report {
    Report {
        policy: options.overrides.clone(),
        from_position: from,
        to_position: to,
        as_of_position: as_of.position,
        as_of_time: as_of.recorded_at,
        payments: 0,
        same: 0,
        other_way: 0,
        other_end: 0,
        uncertain: 0,
        not_reproduced: 0,
        not_reproduced_examples: Vec::new(),
        completed_sooner: 0,
        completed_later: 0,
        transitions: Vec::new(),
        announcements: Vec::new(),
        money: Vec::new(),
        fees: Vec::new(),
        notes: notes(&options.overrides),
        differences: Vec::new(),
        assets: Vec::new(),
    }
}

/// What limits the figures under this policy.
fn notes(overrides: &Overrides) -> Vec<String> {
    let mut notes = vec![
        "The facts are what the events tell. What payers and merchants would have done under the other policy is not \
         among them."
            .to_owned(),
    ];
    if !overrides.confirmations.is_empty() {
        notes.push(
            "When a deposit had another number of confirmations is bounded by the heads that recorded reports name, not \
             known to the second; where that decides how a payment ends or what it announces, it is counted as uncertain. \
             Depth alone confirms here: a finality rule of the chain may confirm later."
                .to_owned(),
        );
    }
    if overrides.expires_in.is_some() {
        notes.push("With another deadline the scheduler is taken to act at the deadline itself.".to_owned());
    }
    if overrides.fee.is_some() {
        notes.push(
            "The fee is a share of what each payment confirmed, rounded down, refunds not deducted; no recorded event \
             charges one yet."
                .to_owned(),
        );
    }
    notes
}
