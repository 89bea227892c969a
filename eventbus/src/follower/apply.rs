//! One batch, one transaction.

use std::time::Instant;

use sqlx::{PgConnection, PgPool};
use wopay_domain::RecordedEvent;

use super::handler::{EventHandler, HandlerError};
use crate::transaction::begin;
use crate::{checkpoint, log};

/// Where a batch may come from.
#[derive(Debug)]
pub(crate) enum Offer {
    /// These, brought by NATS in any order; from the log if they do not fit.
    Announced(Vec<RecordedEvent>),
    /// The log.
    Log,
}

/// Bounds of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Events at most.
    pub(crate) limit: i64,
    /// Only events before this position.
    pub(crate) before: Option<i64>,
}

/// What one transaction did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applied {
    /// The checkpoint now.
    pub(crate) position: i64,
    /// Events applied.
    pub(crate) count: usize,
    /// They were read from the log, as NATS had not brought them.
    pub(crate) from_log: bool,
    /// The log had as many as the limit allows, so it may have more.
    pub(crate) is_more: bool,
}

/// Applies what is next, and moves the checkpoint with it.
pub(crate) async fn apply(
    pool: &PgPool,
    handler: &dyn EventHandler,
    offer: Offer,
    bounds: Bounds,
) -> Result<Applied, HandlerError> {
    let name = handler.name();
    let start = Instant::now();
    if matches!(offer, Offer::Log) {
        // Looking at an idle log takes no lock and writes nothing.
        let (checkpoint, head) = checkpoint::standing(pool, name).await?;
        if head <= checkpoint {
            return Ok(Applied { position: checkpoint, count: 0, from_log: true, is_more: false });
        }
    }
    let mut tx = begin(pool).await?;
    let checkpoint = checkpoint::lock(&mut tx, name).await?;
    let next = choose(&mut tx, checkpoint, offer, bounds).await?;
    let Some(last) = next.events.last() else {
        // Also when the checkpoint was created just now.
        tx.commit().await?;
        return Ok(Applied { position: checkpoint, count: 0, from_log: next.from_log, is_more: false });
    };
    let (position, count) = (last.position, next.events.len());
    set_up(&mut tx).await?;
    handler.apply(&mut tx, &next.events).await?;
    checkpoint::advance(&mut tx, name, position).await?;
    tx.commit().await?;
    handler.committed().await;
    record(name, count, start);
    Ok(Applied { position, count, from_log: next.from_log, is_more: next.is_more })
}

struct Next {
    events: Vec<RecordedEvent>,
    from_log: bool,
    is_more: bool,
}

/// What was announced, if it is exactly what the log holds after the checkpoint; else the log itself.
async fn choose(tx: &mut PgConnection, checkpoint: i64, offer: Offer, bounds: Bounds) -> Result<Next, sqlx::Error> {
    if let Offer::Announced(events) = offer {
        let events = unseen(events, checkpoint);
        let nothing_new = events.is_empty();
        let fits = nothing_new
            || (is_dense(&events, checkpoint) && log::count_known(&mut *tx, &events).await? == events.len());
        if fits {
            return Ok(Next { events, from_log: false, is_more: false });
        }
    }
    let mut events = log::read(&mut *tx, checkpoint, bounds.limit).await?;
    let is_more = i64::try_from(events.len()).is_ok_and(|read| read >= bounds.limit);
    if let Some(before) = bounds.before {
        events.retain(|event| event.position < before);
    }
    Ok(Next { events, from_log: true, is_more })
}

/// In order, each position once, without those already applied.
fn unseen(mut events: Vec<RecordedEvent>, checkpoint: i64) -> Vec<RecordedEvent> {
    events.retain(|event| event.position > checkpoint);
    events.sort_by_key(|event| event.position);
    events.dedup_by_key(|event| event.position);
    events
}

fn is_dense(events: &[RecordedEvent], checkpoint: i64) -> bool {
    events.iter().zip(checkpoint + 1..).all(|(event, expected)| event.position == expected)
}

/// What is lost in a crash is applied again, and the ledger's own appends need the disk more. An instance that hangs, or
/// whose machine is gone, must not keep the checkpoint from the others for ever.
async fn set_up(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "SELECT set_config('synchronous_commit', 'off', true),
                set_config('idle_in_transaction_session_timeout', '60s', true)",
    )
    .execute(tx)
    .await?;
    Ok(())
}

fn record(name: &str, count: usize, start: Instant) {
    let follower = || name.to_owned();
    // A batch is far below 2^53.
    metrics::histogram!("wopay_eventbus_follower_batch_events", "follower" => follower()).record(count as f64);
    metrics::histogram!("wopay_eventbus_follower_apply_seconds", "follower" => follower()).record(start.elapsed());
}
