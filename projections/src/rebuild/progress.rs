//! How far a rebuild or a check has come: for whoever waits, and for the metrics.

use std::sync::atomic::{AtomicI64, Ordering};

/// What a rebuild or a check is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Events are read and applied.
    Applying,
    /// The indexes are made that loading does without.
    Indexing,
    /// The new tables take the live ones' place.
    Switching,
    /// The new tables are compared with the live ones.
    Comparing,
}

impl Stage {
    /// As a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applying => "applying",
            Self::Indexing => "indexing",
            Self::Switching => "switching",
            Self::Comparing => "comparing",
        }
    }
}

/// How far a rebuild has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it does.
    pub stage: Stage,
    /// Up to here every model has applied the events.
    pub position: i64,
    /// The position to reach; it grows while the ledger does.
    pub target: i64,
}

/// Whom to tell.
pub(super) type Listener<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// Gathers what each model has applied; all stand at the slowest one.
pub(super) struct Tracker<'a> {
    listener: Listener<'a>,
    target: i64,
    applied: Vec<AtomicI64>,
}

impl<'a> Tracker<'a> {
    pub(super) fn new(listener: Listener<'a>, models: usize, position: i64, target: i64) -> Self {
        let applied = (0..models).map(|_| AtomicI64::new(position)).collect();
        let tracker = Self { listener, target, applied };
        tracker.tell();
        tracker
    }

    /// The model of this number has applied everything up to `position`.
    pub(super) fn applied(&self, model: usize, position: i64) {
        if let Some(applied) = self.applied.get(model) {
            applied.store(position, Ordering::Relaxed);
        }
        self.tell();
    }

    fn tell(&self) {
        let slowest = self.applied.iter().map(|applied| applied.load(Ordering::Relaxed)).min();
        tell(self.listener, Stage::Applying, slowest.unwrap_or(self.target), self.target);
    }
}

/// Tells the listener and the metrics.
pub(super) fn tell(listener: Listener<'_>, stage: Stage, position: i64, target: i64) {
    // Exact up to 2^53, and a metric is a float anyway.
    metrics::gauge!("wopay_projections_rebuild_position").set(position as f64);
    metrics::gauge!("wopay_projections_rebuild_target").set(target as f64);
    listener(Progress { stage, position, target });
}

/// For as long as it lives, the metrics say that a rebuild or a check is at work.
pub(super) struct Running;

impl Running {
    pub(super) fn new() -> Self {
        metrics::gauge!("wopay_projections_rebuild_running").set(1.0);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        metrics::gauge!("wopay_projections_rebuild_running").set(0.0);
    }
}
