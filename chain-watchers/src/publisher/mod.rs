//! Brings the reports from the outbox to the command stream, and repeats them until the ledger shows that they arrived.
//!
//! A row is sent, then acknowledged by the stream, then found executed in the events, then deleted. One that was sent and
//! is not executed after a while is sent again: a stream that was lost with acknowledged commands in it costs time, never
//! a deposit.

mod store;

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wopay_eventbus::Bus;
use wopay_eventbus::commands::{CommandMessage, ObserveDeposit, ObserveUnmatchedDeposit};

const BATCH_MAX: i64 = 256;
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Wakes the publisher when a watcher has committed reports. Cheap to clone; every watcher and the publisher of a process
/// share one. A wake-up that is lost costs one poll.
#[derive(Clone, Debug, Default)]
pub struct OutboxSignal(Arc<Notify>);

impl OutboxSignal {
    pub(crate) fn wake(&self) {
        self.0.notify_one();
    }
}

/// How often the publisher looks without being woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxOptions {
    /// For reports to send.
    pub poll_interval: Duration,
    /// For reports that were sent, to find out whether they were executed.
    pub settle_interval: Duration,
    /// A report that was sent and is not executed after this long is sent again; the wait doubles with each attempt, up
    /// to an hour.
    pub resend_after: Duration,
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_millis(500),
            settle_interval: Duration::from_secs(5),
            resend_after: Duration::from_secs(30),
        }
    }
}

/// Publishes what the watchers of one ledger report. Several at the same time are safe: reports may be doubled and
/// reordered.
#[derive(Debug)]
pub struct OutboxPublisher {
    pool: PgPool,
    bus: Bus,
    signal: OutboxSignal,
    options: OutboxOptions,
}

impl OutboxPublisher {
    /// A publisher with the usual intervals.
    #[must_use]
    pub fn new(pool: PgPool, bus: Bus, signal: OutboxSignal) -> Self {
        Self { pool, bus, signal, options: OutboxOptions::default() }
    }

    /// With these intervals instead.
    #[must_use]
    pub fn with_options(mut self, options: OutboxOptions) -> Self {
        self.options = options;
        self
    }

    /// Publishes until the token is cancelled. NATS or Postgres may go and come back meanwhile.
    pub async fn run(self, token: CancellationToken) {
        let mut backoff = BACKOFF_MIN;
        let mut settled_at = Instant::now();
        while let Some(result) = token.run_until_cancelled(self.work(&mut settled_at)).await {
            let pause = match result {
                Ok(more) => {
                    backoff = BACKOFF_MIN;
                    if more { Duration::ZERO } else { self.options.poll_interval }
                }
                Err(failure) => {
                    counter!("wopay_chain_watchers_outbox_failures_total").increment(1);
                    warn!(error = &failure as &dyn std::error::Error, "reports wait in the outbox");
                    let pause = backoff;
                    backoff = backoff.saturating_mul(2).min(BACKOFF_MAX);
                    pause
                }
            };
            // After a failure a wake-up must not shorten the pause.
            let wait = async {
                if backoff > BACKOFF_MIN {
                    tokio::time::sleep(pause).await;
                } else {
                    let _woken_or_not = tokio::time::timeout(pause, self.signal.0.notified()).await;
                }
            };
            if token.run_until_cancelled(wait).await.is_none() {
                return;
            }
        }
    }

    /// Sends a batch and, from time to time, settles what was sent. Returns whether there may be more to send.
    async fn work(&self, settled_at: &mut Instant) -> Result<bool, PublishError> {
        let more = self.publish().await?;
        if settled_at.elapsed() >= self.options.settle_interval {
            self.settle().await?;
            *settled_at = Instant::now();
        }
        Ok(more)
    }

    async fn publish(&self) -> Result<bool, PublishError> {
        let rows = store::unsent(&self.pool, BATCH_MAX).await?;
        if rows.is_empty() {
            gauge!("wopay_chain_watchers_outbox_unsent").set(0.0);
            return Ok(false);
        }
        let full = i64::try_from(rows.len()).is_ok_and(|count| count >= BATCH_MAX);
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let messages = rows.into_iter().map(store::Unsent::into_message).collect();
        let results = self.bus.publish_commands(messages).await;
        let mut acknowledged = Vec::with_capacity(ids.len());
        let mut failure = None;
        for (id, result) in ids.iter().zip(results) {
            match result {
                Ok(()) => acknowledged.push(*id),
                Err(error) => failure = Some(error),
            }
        }
        store::mark_sent(&self.pool, &acknowledged).await?;
        counter!("wopay_chain_watchers_outbox_published_total")
            .increment(u64::try_from(acknowledged.len()).unwrap_or_default());
        match failure {
            Some(source) => {
                let waiting = ids.len().saturating_sub(acknowledged.len());
                gauge!("wopay_chain_watchers_outbox_unsent").set(f64::from(u32::try_from(waiting).unwrap_or(u32::MAX)));
                Err(PublishError::Bus { waiting, source })
            }
            None => Ok(full),
        }
    }

    async fn settle(&self) -> Result<(), PublishError> {
        let mut executed: u64 = 0;
        let mut after = 0;
        // To the end: a report that cannot be executed must not keep those behind it from being settled.
        loop {
            let settled = store::delete_executed(&self.pool, after).await?;
            executed = executed.saturating_add(settled.deleted.unsigned_abs());
            match settled.last {
                Some(last) if settled.looked_at >= store::SETTLE_MAX => after = last,
                Some(_) | None => break,
            }
        }
        let again = store::send_again(&self.pool, self.options.resend_after).await?;
        if executed > 0 {
            counter!("wopay_chain_watchers_outbox_settled_total").increment(executed);
        }
        if again > 0 {
            info!(reports = again, "sent a while ago and not executed yet, sending again");
            counter!("wopay_chain_watchers_outbox_resent_total").increment(again);
        }
        Ok(())
    }
}

impl store::Unsent {
    fn into_message(self) -> CommandMessage {
        let kind = if self.aggregate_type == wopay_domain::deposit::AGGREGATE_TYPE {
            ObserveUnmatchedDeposit::KIND
        } else {
            ObserveDeposit::KIND
        };
        CommandMessage { subject_kind: kind.to_owned(), message_id: self.message_id, body: self.body.into_bytes() }
    }
}

/// Why reports stay in the outbox for now.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
    #[error("{waiting} reports could not be published")]
    Bus {
        waiting: usize,
        #[source]
        source: wopay_eventbus::BusError,
    },
}
