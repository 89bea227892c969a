//! Delivering: claims rows that are due, makes the attempts, settles the rows.
//!
//! At least once: a row is claimed by moving the moment when it is due beyond the attempt's timeout, so when a process
//! dies between claim and settlement, another makes the attempt again. A claim that was lost settles nothing. Nothing is
//! kept in memory that a restart would miss, and any number of processes may run this.
//!
//! Deliveries of one payment are not held back behind each other: each carries its `sequence`, and a receiver that is
//! slow for one event hears of the next all the same.

mod attempt;
mod config;
mod lanes;
mod response;
mod store;

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wopay_eventbus::begin;
use wopay_vault::Vault;

use crate::receiver::Clients;
use crate::retry::RetrySchedule;
use crate::wake::Wake;
use attempt::{Attempt, AttemptError, attempt};
pub use config::DelivererConfig;
use lanes::{Lane, Lanes};
use store::{Fate, Job, Limits};

/// How long to wait before asking a database again that has just failed.
const DATABASE_PAUSE: Duration = Duration::from_millis(500);
const GAUGES_EVERY: Duration = Duration::from_secs(10);

/// Delivers planned webhooks until it is told to stop.
#[derive(Debug)]
pub struct Deliverer {
    shared: Arc<Shared>,
    wake: Wake,
}

/// What every attempt needs.
#[derive(Debug)]
struct Shared {
    pool: PgPool,
    vault: Vault,
    clients: Clients,
    config: DelivererConfig,
}

/// What an ended attempt tells the loop.
struct Ended {
    lane: Lane,
    answered: bool,
}

impl Deliverer {
    /// A deliverer on this ledger's tables, which opens signing secrets in this vault.
    ///
    /// # Errors
    /// When no TLS client can be made.
    pub fn new(pool: PgPool, vault: Vault, config: DelivererConfig) -> Result<Self, reqwest::Error> {
        let clients = Clients::new(config.policy.clone())?;
        Ok(Self { shared: Arc::new(Shared { pool, vault, clients, config }), wake: Wake::default() })
    }

    /// Starts at once when this planner has planned something; without it, at the next poll.
    #[must_use]
    pub fn woken_by(mut self, wake: Wake) -> Self {
        self.wake = wake;
        self
    }

    /// Delivers until `token` is cancelled; then lets attempts in flight end, within the configured time. Dropping the
    /// future abandons them: their claims run out, and they are made again.
    pub async fn run(self, token: CancellationToken) {
        let mut lanes = Lanes::default();
        let mut flights: JoinSet<Ended> = JoinSet::new();
        let mut gauges = tokio::time::interval(GAUGES_EVERY);
        while !token.is_cancelled() {
            let pause = self.launch(&mut lanes, &mut flights).await;
            tokio::select! {
                () = token.cancelled() => {}
                () = self.wake.woken() => {}
                () = tokio::time::sleep(pause) => {}
                _ = gauges.tick() => self.shared.show_backlog().await,
                Some(ended) = flights.join_next() => land(&mut lanes, ended),
            }
            while let Some(ended) = flights.try_join_next() {
                land(&mut lanes, ended);
            }
        }
        drain(flights, self.shared.config.drain).await;
    }

    /// Claims and starts what may be started, and says how long there is nothing to look for.
    async fn launch(&self, lanes: &mut Lanes, flights: &mut JoinSet<Ended>) -> Duration {
        let config = &self.shared.config;
        let in_flight = u32::try_from(flights.len()).unwrap_or(u32::MAX);
        let free = config.in_flight_max.saturating_sub(in_flight);
        if free == 0 {
            return config.poll_interval;
        }
        let limits = Limits {
            free,
            lane: config.in_flight_lane_max,
            merchant: config.in_flight_merchant_max,
            suspects: config.in_flight_suspect_max.saturating_sub(lanes.suspects_in_flight()),
            lease: config.attempt_timeout.saturating_add(config.lease_margin),
        };
        let (jobs, next_due) = match self.shared.find_work(lanes, limits).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "webhooks: cannot claim deliveries");
                return DATABASE_PAUSE;
            }
        };
        for job in jobs {
            let lane = job.lane();
            lanes.begin(&lane);
            let shared = Arc::clone(&self.shared);
            flights.spawn(async move {
                let answered = shared.deliver(&job).await;
                Ended { lane: job.lane(), answered }
            });
        }
        next_due.unwrap_or(config.poll_interval).min(config.poll_interval)
    }
}

impl Shared {
    async fn find_work(&self, lanes: &Lanes, limits: Limits) -> Result<(Vec<Job>, Option<Duration>), sqlx::Error> {
        let jobs = store::claim(&self.pool, lanes, limits).await?;
        Ok((jobs, store::next_due(&self.pool).await?))
    }

    /// One attempt and its settlement; says whether the receiver answered.
    async fn deliver(&self, job: &Job) -> bool {
        let attempt = attempt(&self.clients, &self.vault, job, self.config.attempt_timeout).await;
        let fate = fate(&self.config.schedule, job, &attempt);
        report(job, &attempt, fate);
        match self.settle(job, &attempt, fate).await {
            Ok(true) => {}
            Ok(false) => {
                metrics::counter!("wopay_webhooks_claims_lost_total").increment(1);
                tracing::warn!(delivery = %job.id, "webhooks: the claim ran out before the attempt ended");
            }
            // The claim runs out, and the attempt is made again.
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(delivery = %job.id, error, "webhooks: cannot settle a delivery");
            }
        }
        attempt.answered()
    }

    async fn settle(&self, job: &Job, attempt: &Attempt, fate: Fate) -> Result<bool, sqlx::Error> {
        let mut tx = begin(&self.pool).await?;
        let settled = store::settle(&mut tx, job, attempt, fate).await?;
        if fate == Fate::Disabled {
            let endpoint = store::disable_endpoint(&mut tx, job).await?;
            let given_up = store::disable_pending(&mut tx, job, endpoint).await?;
            tracing::warn!(merchant = %job.merchant_id, url = job.url, endpoint, given_up, "webhooks: the receiver is told no more");
        }
        tx.commit().await?;
        Ok(settled)
    }

    async fn show_backlog(&self) {
        match store::backlog(&self.pool).await {
            Ok((pending, overdue_seconds)) => {
                #[expect(clippy::cast_precision_loss, reason = "a gauge")]
                metrics::gauge!("wopay_webhooks_pending_deliveries").set(pending as f64);
                metrics::gauge!("wopay_webhooks_overdue_seconds").set(overdue_seconds);
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "webhooks: cannot measure the backlog");
            }
        }
    }
}

fn fate(schedule: &RetrySchedule, job: &Job, attempt: &Attempt) -> Fate {
    match &attempt.result {
        Ok(()) => Fate::Delivered,
        Err(AttemptError::Gone | AttemptError::Forgotten) => Fate::Disabled,
        Err(_) => {
            let attempts = u32::try_from(job.attempt()).unwrap_or(u32::MAX);
            schedule.pause_after(attempts, attempt.retry_after).map_or(Fate::Failed, Fate::Retry)
        }
    }
}

/// Logs and counts an attempt. What is our own fault is an error, what is the receiver's is not.
fn report(job: &Job, attempt: &Attempt, fate: Fate) {
    let outcome = attempt.result.as_ref().err().map_or("delivered", AttemptError::label);
    metrics::counter!("wopay_webhooks_attempts_total", "outcome" => outcome).increment(1);
    metrics::histogram!("wopay_webhooks_attempt_seconds", "outcome" => outcome).record(attempt.latency.as_secs_f64());
    if !matches!(fate, Fate::Retry(_)) {
        metrics::counter!("wopay_webhooks_deliveries_total", "state" => fate.state()).increment(1);
    }
    let (delivery, payment, number) = (job.id, job.payment_id, job.attempt());
    match &attempt.result {
        Ok(()) => tracing::debug!(%delivery, %payment, event = job.event, number, "webhook delivered"),
        Err(error) => {
            let ours = error.is_ours();
            let error = error as &dyn std::error::Error;
            let state = fate.state();
            if ours || fate == Fate::Failed {
                tracing::error!(%delivery, %payment, event = job.event, number, state, error, "webhook not delivered");
            } else {
                tracing::info!(%delivery, %payment, event = job.event, number, state, error, "webhook not delivered");
            }
        }
    }
}

fn land(lanes: &mut Lanes, ended: Result<Ended, tokio::task::JoinError>) {
    match ended {
        Ok(Ended { lane, answered }) => lanes.end(&lane, answered),
        // Attempts do not panic; if one did, its lane would keep a slot until the restart.
        Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "webhooks: an attempt was lost"),
    }
}

/// Lets attempts end that have begun; what does not end in time is made again when its claim runs out.
async fn drain(mut flights: JoinSet<Ended>, within: Duration) {
    let ended = tokio::time::timeout(within, async { while flights.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::info!(abandoned = flights.len(), "webhooks: stopped with attempts in flight");
    }
}
