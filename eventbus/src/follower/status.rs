//! How a follower is doing, for readiness and operators.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::watch;

/// A handle on a follower's state. Cheap to clone; outlives the follower.
#[derive(Clone, Debug)]
pub struct FollowerStatus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    /// `None` before the first look at the checkpoint.
    position: watch::Sender<Option<i64>>,
    head: AtomicI64,
    is_fed: AtomicBool,
    applied_from_log: AtomicU64,
    applied_from_nats: AtomicU64,
    failing: Mutex<Option<String>>,
    poisoned: OnceLock<String>,
}

impl FollowerStatus {
    pub(crate) fn new(name: &str) -> Self {
        metrics::gauge!("wopay_follower_poisoned", "follower" => name.to_owned()).set(0.0);
        Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                position: watch::Sender::new(None),
                head: AtomicI64::new(0),
                is_fed: AtomicBool::new(false),
                applied_from_log: AtomicU64::new(0),
                applied_from_nats: AtomicU64::new(0),
                failing: Mutex::new(None),
                poisoned: OnceLock::new(),
            }),
        }
    }

    /// The handler's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The position last applied, as far as this process knows; 0 before it knows.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.shared.position.borrow().unwrap_or(0)
    }

    /// How many events are in the ledger that are not applied, as of the follower's last look.
    #[must_use]
    pub fn lag(&self) -> i64 {
        (self.shared.head.load(Ordering::Relaxed) - self.position()).max(0)
    }

    /// Whether the follower has looked at its checkpoint since it was started.
    #[must_use]
    pub fn has_started(&self) -> bool {
        self.shared.position.borrow().is_some()
    }

    /// Whether NATS brings events; if not, they come from polling Postgres.
    #[must_use]
    pub fn is_fed(&self) -> bool {
        self.shared.is_fed.load(Ordering::Relaxed)
    }

    /// Events applied that were read from Postgres, and events applied that NATS brought, since the start.
    #[must_use]
    pub fn applied_from_log_and_nats(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.shared.applied_from_log), count(&self.shared.applied_from_nats))
    }

    /// Why the last try failed, while the follower tries again.
    #[must_use]
    pub fn failing(&self) -> Option<String> {
        self.shared.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the follower has stopped for good, if it has.
    #[must_use]
    pub fn poisoned(&self) -> Option<String> {
        self.shared.poisoned.get().cloned()
    }

    /// Waits until `position` is applied. Waits for ever if it never is: give it a time limit.
    pub async fn reached(&self, position: i64) {
        let mut changes = self.shared.position.subscribe();
        // It fails only without a sender, and we hold one.
        let _ = changes.wait_for(|applied| applied.is_some_and(|applied| applied >= position)).await;
    }

    /// The checkpoint is at `position` now, `count` events further.
    pub(crate) fn advanced(&self, position: i64, count: usize, from_log: bool) {
        let (counter, source) = match from_log {
            true => (&self.shared.applied_from_log, "log"),
            false => (&self.shared.applied_from_nats, "nats"),
        };
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        counter.fetch_add(count, Ordering::Relaxed);
        let labels = [("follower", self.shared.name.clone()), ("source", source.to_owned())];
        metrics::counter!("wopay_eventbus_follower_applied_total", &labels).increment(count);
        self.shared.position.send_replace(Some(position));
        self.shared.head.fetch_max(position, Ordering::Relaxed);
        self.gauge("wopay_eventbus_follower_position", position);
    }

    pub(crate) fn set_head(&self, head: i64) {
        self.shared.head.store(head, Ordering::Relaxed);
        self.gauge("wopay_eventbus_follower_lag_events", self.lag());
    }

    pub(crate) fn set_failing(&self, reason: Option<String>) {
        *self.shared.failing.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    pub(crate) fn set_fed(&self, is_fed: bool) {
        self.shared.is_fed.store(is_fed, Ordering::Relaxed);
    }

    /// Records why the follower stops, with the whole chain of causes.
    pub(crate) fn set_poisoned(&self, error: &dyn std::error::Error) {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // Writing to a string does not fail.
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        self.set_stopped(text);
    }

    /// Records that the follower stops for good.
    pub(crate) fn set_stopped(&self, reason: String) {
        metrics::gauge!("wopay_follower_poisoned", "follower" => self.shared.name.clone()).set(1.0);
        // A second reason changes nothing: it has stopped.
        let _ = self.shared.poisoned.set(reason);
    }

    fn gauge(&self, name: &'static str, value: i64) {
        // Exact up to 2^53, and a metric is a float anyway.
        metrics::gauge!(name, "follower" => self.shared.name.clone()).set(value as f64);
    }
}
