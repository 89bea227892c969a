//! The relay's loop.

use std::convert::Infallible;
use std::time::Duration;

use async_nats::jetstream::context::PublishErrorKind;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::leader::Leader;
use super::publish::{Cursor, last_position, publish};
use crate::backoff::{Backoff, PollPause};
use crate::bus::Bus;
use crate::error::BusError;
use crate::signal::AppendSignal;

const BATCH_EVENTS_MAX: i64 = 1_000;
/// Further behind than this the relay goes on at the head: who follows reads the log faster than we could announce it.
const BACKLOG_EVENTS_MAX: i64 = 20_000;
/// Between two reads, so that a stream of single appends makes batches.
const PACE: Duration = Duration::from_millis(5);
const POLL_MIN: Duration = Duration::from_millis(10);
const POLL_MAX: Duration = Duration::from_millis(250);
const STANDBY_PAUSE: Duration = Duration::from_millis(250);
const RETRY_DELAY_MIN: Duration = Duration::from_millis(10);
const RETRY_DELAY_MAX: Duration = Duration::from_millis(500);

/// Announces a ledger's committed events to NATS. Several may run for one ledger; one leads, the others stand by.
pub struct Relay {
    pool: PgPool,
    bus: Bus,
    wake: AppendSignal,
}

impl Relay {
    /// A relay that will read through `pool`, whose `search_path` is the ledger of `bus`. `wake` is given by appends in
    /// this process; those of others are found by polling.
    #[must_use]
    pub fn new(pool: PgPool, bus: Bus, wake: AppendSignal) -> Self {
        Self { pool, bus, wake }
    }

    /// Runs until `token` is cancelled.
    pub async fn run(self, token: CancellationToken) {
        // Stopping in the middle is no different from a crash: the next leader goes on where the stream ends.
        token.run_until_cancelled(Box::pin(self.stand_and_lead())).await;
        self.set_leading(false);
    }

    async fn stand_and_lead(&self) -> Infallible {
        loop {
            match Leader::acquire(&self.pool, self.bus.ledger()).await {
                Ok(Some(mut leader)) => {
                    tracing::info!(ledger = self.bus.ledger(), "the relay leads");
                    self.set_leading(true);
                    let Err(error) = self.lead(&mut leader).await;
                    self.set_leading(false);
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the relay has lost its connection and stands by"
                    );
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the relay cannot reach Postgres")
                }
            }
            tokio::time::sleep(STANDBY_PAUSE).await;
        }
    }

    /// Announces until the leader's connection fails.
    async fn lead(&self, leader: &mut Leader) -> Result<Infallible, sqlx::Error> {
        let mut appended = self.wake.subscribe();
        let mut delays = Backoff::new(RETRY_DELAY_MIN, RETRY_DELAY_MAX);
        let (mut announced, mut is_reported) = (None, false);
        loop {
            match self.find_cursor(leader, announced).await? {
                Ok(cursor) => {
                    is_reported = false;
                    let end = self.announce(leader, cursor, &mut appended).await?;
                    if end.position > cursor.position {
                        delays.reset();
                    }
                    announced = Some(end.position);
                }
                Err(BusError::Disconnected) => {}
                Err(_) if is_reported => {}
                Err(error) => {
                    is_reported = true;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the event stream is not ready; trying on"
                    );
                }
            }
            delays.wait().await;
        }
    }

    /// Where to go on: after the stream's last message, or after what we announced ourselves if the stream lost that.
    /// Knowing neither, or too far behind: at the head. The outer error means that we no longer lead, the inner that NATS
    /// is not ready.
    async fn find_cursor(
        &self,
        leader: &mut Leader,
        announced: Option<i64>,
    ) -> Result<Result<Cursor, BusError>, sqlx::Error> {
        // Also the proof, while NATS is away, that we still lead.
        let head = leader.head().await?;
        if !self.bus.is_connected() {
            return Ok(Err(BusError::Disconnected));
        }
        let stream = match self.bus.ensure_events().await {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error)),
        };
        let in_stream = last_position(&stream).await;
        let is_ours = |position: &i64| (0..=head).contains(position);
        let known = in_stream.filter(is_ours).max(announced.filter(is_ours));
        let position = known.filter(|position| head - position <= BACKLOG_EVENTS_MAX).unwrap_or(head);
        let sequence = stream.cached_info().state.last_sequence;
        tracing::debug!(ledger = self.bus.ledger(), ?in_stream, ?announced, head, position, sequence, "announcing");
        Ok(Ok(Cursor { position, sequence }))
    }

    /// Announces until the stream refuses, and says how far that went.
    async fn announce(
        &self,
        leader: &mut Leader,
        mut cursor: Cursor,
        appended: &mut watch::Receiver<i64>,
    ) -> Result<Cursor, sqlx::Error> {
        let mut pause = PollPause::new(POLL_MIN);
        loop {
            // Without NATS there is nobody to announce to; find the cursor again when it is back.
            if !self.bus.is_connected() {
                return Ok(cursor);
            }
            appended.mark_unchanged();
            let events = leader.read(cursor.position, BATCH_EVENTS_MAX).await?;
            if events.is_empty() {
                wait(appended, pause.get(POLL_MAX)).await;
                pause.empty(POLL_MAX);
                continue;
            }
            pause.found();
            let before = cursor.position;
            let published = publish(&self.bus, &events, &mut cursor).await;
            self.record(before, cursor.position);
            if let Err(error) = published {
                self.report(&error, cursor);
                return Ok(cursor);
            }
            let is_full = i64::try_from(events.len()).is_ok_and(|read| read >= BATCH_EVENTS_MAX);
            if is_full {
                self.skip_backlog(leader, &mut cursor).await?;
            } else {
                tokio::time::sleep(PACE).await;
            }
        }
    }

    async fn skip_backlog(&self, leader: &mut Leader, cursor: &mut Cursor) -> Result<(), sqlx::Error> {
        let head = leader.head().await?;
        if head - cursor.position > BACKLOG_EVENTS_MAX {
            tracing::warn!(from = cursor.position, to = head, "too far behind to announce; followers will read these");
            cursor.position = head;
        }
        Ok(())
    }

    fn report(&self, error: &async_nats::jetstream::context::PublishError, cursor: Cursor) {
        let ledger = || self.bus.ledger().to_owned();
        if error.kind() == PublishErrorKind::WrongLastSequence {
            metrics::counter!("wopay_eventbus_relay_fenced_total", "ledger" => ledger()).increment(1);
        }
        tracing::warn!(ledger = ledger(), %error, position = cursor.position, "announcing was interrupted");
    }

    fn record(&self, before: i64, after: i64) {
        let ledger = || self.bus.ledger().to_owned();
        let count = u64::try_from(after - before).unwrap_or(0);
        metrics::counter!("wopay_eventbus_relay_published_total", "ledger" => ledger()).increment(count);
        // Exact up to 2^53, and a metric is a float anyway.
        metrics::gauge!("wopay_eventbus_relay_position", "ledger" => ledger()).set(after as f64);
    }

    fn set_leading(&self, leads: bool) {
        let ledger = self.bus.ledger().to_owned();
        metrics::gauge!("wopay_eventbus_relay_leader", "ledger" => ledger).set(f64::from(u8::from(leads)));
    }
}

/// Until something is appended here, for `pause` at most.
async fn wait(appended: &mut watch::Receiver<i64>, pause: Duration) {
    tokio::select! {
        Ok(()) = appended.changed() => {}
        () = tokio::time::sleep(pause) => {}
    }
}
