//! Applies the log to the new tables: reading, decoding and a writer for each read model, all at the same time.
//!
//! Read models do not look into each other's tables, so each has a connection and transactions of its own. Bounded
//! queues keep the fastest at most two batches ahead of the slowest, which bounds the memory, however long the log is.

use std::sync::Arc;

use futures::future::try_join_all;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::mpsc;
use wopay_eventbus::log::{self, Chunk};

use super::error::RebuildError;
use super::progress::{Listener, Tracker};
use crate::batch::Events;
use crate::error::{ApplyError, PoisonError};
use crate::model::ReadModel;
use crate::profiles::Profiles;

/// Events in one transaction, a few more at most: so many that most payments begin and end within one batch, and are
/// written once.
const BATCH_EVENTS: usize = 16_000;
/// Batches that wait for a writer.
const QUEUE_BATCHES: usize = 1;

/// A read model's own connection, whose `search_path` leads to the new tables.
pub(super) struct Writer {
    pub(super) model: ReadModel,
    pub(super) connection: PgConnection,
}

/// Applies the events `after < position <= target` to every writer's model.
pub(super) async fn load(
    pool: &PgPool,
    writers: &mut [Writer],
    profiles: &dyn Profiles,
    (after, target): (i64, i64),
    listener: Listener<'_>,
) -> Result<(), RebuildError> {
    let tracker = Tracker::new(listener, writers.len(), after, target);
    let mut queues = Vec::with_capacity(writers.len());
    let mut writing = Vec::with_capacity(writers.len());
    for (number, writer) in writers.iter_mut().enumerate() {
        let (queue, batches) = mpsc::channel(QUEUE_BATCHES);
        queues.push(queue);
        let tracker = &tracker;
        let applied = move |position| tracker.applied(number, position);
        writing.push(writer.write(batches, profiles, applied));
    }
    tokio::try_join!(read(pool, (after, target), queues), try_join_all(writing))?;
    Ok(())
}

type Queue = mpsc::Sender<Arc<Events>>;

async fn read(pool: &PgPool, (after, target): (i64, i64), queues: Vec<Queue>) -> Result<(), RebuildError> {
    let mut scan = log::scan(pool, after, target);
    let mut position = after;
    let mut events = Events::default();
    while let Some(chunk) = scan.next().await? {
        check_dense(position, &chunk)?;
        events = decode(events, chunk).await?;
        position = events.last_position().unwrap_or(position);
        if events.len() >= BATCH_EVENTS && !hand_over(&queues, &mut events).await {
            return Ok(());
        }
    }
    if position < target {
        return Err(RebuildError::LedgerTooShort { head: position, checkpoint: target });
    }
    hand_over(&queues, &mut events).await;
    Ok(())
}

/// The batch that begins with this chunk must follow what was read before.
fn check_dense(position: i64, chunk: &Chunk) -> Result<(), RebuildError> {
    let expected = position.saturating_add(1);
    match chunk.iter().next() {
        Some(first) if first.position != expected => {
            let source = PoisonError::Gap { expected, got: first.position };
            Err(RebuildError::Poison { position: first.position, source })
        }
        _ => Ok(()),
    }
}

/// Reads a chunk's events in a thread of its own: it takes long enough to hold up whoever shares this one.
async fn decode(mut events: Events, chunk: Chunk) -> Result<Events, RebuildError> {
    let reading = tokio::task::spawn_blocking(move || {
        for event in chunk.iter() {
            events.read_next(&event)?;
        }
        Ok::<_, ApplyError>(events)
    });
    match reading.await {
        Ok(read) => Ok(read?),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(RebuildError::Stopping),
        },
    }
}

/// False when a writer has stopped; it says why itself.
async fn hand_over(queues: &[Queue], events: &mut Events) -> bool {
    let batch = Arc::new(std::mem::take(events));
    for queue in queues {
        if queue.send(Arc::clone(&batch)).await.is_err() {
            return false;
        }
    }
    true
}

impl Writer {
    async fn write(
        &mut self,
        mut batches: mpsc::Receiver<Arc<Events>>,
        profiles: &dyn Profiles,
        applied: impl Fn(i64),
    ) -> Result<(), RebuildError> {
        while let Some(events) = batches.recv().await {
            let Some(position) = events.last_position() else { continue };
            let mut tx = self.connection.begin().await?;
            self.model.apply(&mut tx, &events.batch(), profiles).await?;
            tx.commit().await?;
            applied(position);
        }
        Ok(())
    }
}
