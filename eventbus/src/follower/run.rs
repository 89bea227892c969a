//! The follower's loop.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Message;
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::apply::{Applied, Bounds, Offer, apply};
use super::feed;
use super::handler::{EventHandler, HandlerError};
use super::status::FollowerStatus;
use crate::backoff::{Backoff, PollPause};
use crate::bus::Bus;
use crate::pull::Pull;
use crate::{checkpoint, log};

const BATCH_EVENTS_MAX: i64 = 1_000;
/// Announcements that may wait to be applied.
const BUFFERED_MAX: usize = 2_048;
const MESSAGES_A_BATCH_MAX: usize = 1_000;
/// Between two transactions, so that a stream of single events makes batches.
const PACE: Duration = Duration::from_millis(10);
/// Longer than the pace: what NATS has brought meanwhile goes first.
const POLL_MIN: Duration = Duration::from_millis(25);
/// While NATS brings nothing: it is down, or not attached yet.
const POLL_MAX_UNFED: Duration = Duration::from_millis(250);
/// While NATS should bring what there is: this bounds the cost of a silent loss.
const POLL_MAX_FED: Duration = Duration::from_secs(1);
const LOOK_AT_HEAD_EVERY: Duration = Duration::from_secs(1);
/// So often may the database refuse what a handler makes of one single event before that event counts as poison.
const REFUSALS_MAX: u32 = 5;
const RETRY_DELAY_MIN: Duration = Duration::from_millis(20);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(1);

/// Applies a ledger's log to one handler. Several instances of one follower may run; each position is applied by one.
pub struct Follower {
    pool: PgPool,
    bus: Bus,
    handler: Arc<dyn EventHandler>,
    status: FollowerStatus,
}

/// The follower has stopped at an event that cannot be applied.
struct Poisoned;

impl Follower {
    /// A follower that will run on `pool`, whose `search_path` is the ledger of `bus`.
    #[must_use]
    pub fn new(pool: PgPool, bus: Bus, handler: Arc<dyn EventHandler>) -> Self {
        let status = FollowerStatus::new(handler.name());
        Self { pool, bus, handler, status }
    }

    /// A handle on how it is doing.
    #[must_use]
    pub fn status(&self) -> FollowerStatus {
        self.status.clone()
    }

    /// Runs until `token` is cancelled, or for as long as no event is poison.
    pub async fn run(self, token: CancellationToken) {
        let _report = PanicReport(&self.status);
        // A transaction that is cut off is rolled back: stopping here is no different from a crash.
        let _ = token.run_until_cancelled(Box::pin(self.follow())).await;
        self.status.set_fed(false);
    }

    async fn follow(&self) -> Poisoned {
        let mut feed = feed::start(&self.bus, self.handler.name(), BUFFERED_MAX);
        let mut clock = PollClock::new();
        let mut limit = BATCH_EVENTS_MAX;
        let mut looked_at = Instant::now();
        let mut offer = Offer::Log;
        let mut messages: Vec<Message> = Vec::new();
        loop {
            let polled = matches!(offer, Offer::Log);
            let applied = match self.apply_until_it_works(offer, &mut limit).await {
                Ok(applied) => applied,
                Err(poisoned) => return poisoned,
            };
            feed::acknowledge(&messages).await;
            messages.clear();
            self.look_at_head(applied, &mut looked_at).await;
            offer = Offer::Log;
            if applied.is_more {
                continue;
            }
            let is_fed = *feed.attached.borrow() && self.bus.is_connected();
            self.status.set_fed(is_fed);
            clock.after(applied, polled, is_fed);
            if self.next_messages(&mut feed, &clock, &mut messages).await {
                offer = Offer::Announced(feed::decode(&messages));
            }
        }
    }

    /// Waits for messages; false when it is time to look at the log instead.
    async fn next_messages(&self, feed: &mut Pull, clock: &PollClock, messages: &mut Vec<Message>) -> bool {
        tokio::time::sleep_until(clock.not_before).await;
        tokio::select! {
            biased;
            // Attached: what was appended meanwhile was not announced to us. Detached: nothing will be.
            Ok(()) = feed.attached.changed() => false,
            () = tokio::time::sleep_until(clock.next_poll) => false,
            received = feed.messages.recv_many(messages, MESSAGES_A_BATCH_MAX) => received > 0,
        }
    }

    /// Applies a batch, for as long as it takes. At a poison event: what stands before it, and then no more.
    async fn apply_until_it_works(&self, mut offer: Offer, limit: &mut i64) -> Result<Applied, Poisoned> {
        let mut delays = Backoff::new(RETRY_DELAY_MIN, RETRY_DELAY_MAX);
        let mut poison: Option<(i64, HandlerError)> = None;
        let mut refused = 0;
        loop {
            let bounds = Bounds { limit: *limit, before: poison.as_ref().map(|(position, _)| *position) };
            match apply(&self.pool, &*self.handler, std::mem::replace(&mut offer, Offer::Log), bounds).await {
                Ok(applied) => {
                    self.status.advanced(applied.position, applied.count, applied.from_log);
                    self.status.set_failing(None);
                    match poison {
                        Some((position, error)) if applied.count == 0 => return Err(self.stop(position, &error)),
                        Some(_) => continue,
                        None => {}
                    }
                    *limit = (*limit * 2).min(BATCH_EVENTS_MAX);
                    return Ok(applied);
                }
                Err(HandlerError::Database(error)) => {
                    self.report_retry(&error);
                    refused += u32::from(*limit == 1 && is_about_data(&error));
                    if refused >= REFUSALS_MAX {
                        let position = checkpoint::read(&self.pool, self.handler.name()).await;
                        let position = position.unwrap_or_else(|_| self.status.position()) + 1;
                        let error = HandlerError::Poison { position, source: error.into() };
                        return Err(self.stop(position, &error));
                    }
                    // A smaller batch fits where a large one times out, and in the end shows which event it is.
                    *limit = (*limit / 2).max(1);
                    delays.wait().await;
                }
                Err(error @ HandlerError::Poison { position, .. }) => match poison {
                    // It does not even apply what stands before.
                    Some((earlier, _)) if earlier <= position => return Err(self.stop(position, &error)),
                    _ => poison = Some((position, error)),
                },
            }
        }
    }

    /// Learns how far behind we are.
    async fn look_at_head(&self, applied: Applied, looked_at: &mut Instant) {
        if applied.from_log && !applied.is_more {
            self.status.set_head(applied.position);
        } else if looked_at.elapsed() >= LOOK_AT_HEAD_EVERY {
            *looked_at = Instant::now();
            match log::head(&self.pool).await {
                Ok(head) => self.status.set_head(head),
                Err(error) => tracing::debug!(%error, "how far behind this follower is stays unknown"),
            }
        }
    }

    fn stop(&self, position: i64, error: &HandlerError) -> Poisoned {
        self.status.set_poisoned(error);
        let reason = self.status.poisoned().unwrap_or_default();
        tracing::error!(follower = self.handler.name(), position, reason, "a poison event; this follower has stopped");
        Poisoned
    }

    fn report_retry(&self, error: &sqlx::Error) {
        let follower = self.handler.name();
        self.status.set_failing(Some(error.to_string()));
        metrics::counter!("wopay_eventbus_follower_retries_total", "follower" => follower.to_owned()).increment(1);
        tracing::warn!(follower, error = error as &dyn std::error::Error, "the database failed; trying again");
    }
}

/// Whether the database refused the values themselves (SQLSTATE classes 22, data exception, and 23, integrity violation),
/// or what it holds is not JSON to us: no later try will go better, unless another transaction is in the way.
fn is_about_data(error: &sqlx::Error) -> bool {
    if matches!(error, sqlx::Error::Decode(_)) {
        return true;
    }
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

/// A handler that panics ends the task; readiness must not be the last to know.
struct PanicReport<'a>(&'a FollowerStatus);

impl Drop for PanicReport<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(follower = self.0.name(), "the handler panicked; this follower has stopped");
            self.0.set_stopped("the handler panicked".to_owned());
        }
    }
}

/// When to look at the log without being told.
struct PollClock {
    pause: PollPause,
    next_poll: Instant,
    not_before: Instant,
}

impl PollClock {
    fn new() -> Self {
        let now = Instant::now();
        Self { pause: PollPause::new(POLL_MIN), next_poll: now, not_before: now }
    }

    /// Only a look at the log, or an announcement that led somewhere, moves the next look: junk in the stream must not
    /// keep us from it.
    fn after(&mut self, applied: Applied, polled: bool, is_fed: bool) {
        let max = if is_fed { POLL_MAX_FED } else { POLL_MAX_UNFED };
        let now = Instant::now();
        if applied.count > 0 {
            self.not_before = now + PACE;
        }
        match (applied.count > 0, applied.from_log) {
            (true, true) => self.pause.found(),
            (true, false) => self.pause.set(max),
            (false, _) if polled => self.pause.empty(max),
            (false, _) => {
                self.next_poll = self.next_poll.min(now + max);
                return;
            }
        }
        self.next_poll = now + self.pause.get(max);
    }
}
