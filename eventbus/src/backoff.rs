//! How long to wait before trying again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Growing, jittered waits without an end; start again after a success with [`Backoff::reset`].
#[derive(Debug)]
pub(crate) struct Backoff {
    builder: ExponentialBuilder,
    delays: ExponentialBackoff,
    max: Duration,
}

impl Backoff {
    /// Waits from `min` up, doubling, jittered, at most about `max`.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        let builder =
            ExponentialBuilder::new().with_min_delay(min).with_max_delay(max).without_max_times().with_jitter();
        Self { builder, delays: builder.build(), max }
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        self.delays.next().unwrap_or(self.max)
    }

    /// Sleeps for the next wait.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next()).await;
    }

    /// Things went well: the next wait is short again.
    pub(crate) fn reset(&mut self) {
        self.delays = self.builder.build();
    }
}

/// How long to wait between two looks at the log: short after something was found, twice as long after nothing was.
#[derive(Debug)]
pub(crate) struct PollPause {
    min: Duration,
    pause: Duration,
}

impl PollPause {
    /// Starts at `min`.
    pub(crate) fn new(min: Duration) -> Self {
        Self { min, pause: min }
    }

    /// Something was found.
    pub(crate) fn found(&mut self) {
        self.pause = self.min;
    }

    /// Nothing was found; the pause doubles up to `max`.
    pub(crate) fn empty(&mut self, max: Duration) {
        self.pause = (self.pause * 2).min(max);
    }

    /// The pause is `pause` from now on.
    pub(crate) fn set(&mut self, pause: Duration) {
        self.pause = pause.max(self.min);
    }

    /// The pause, at most `max`.
    pub(crate) fn get(&self, max: Duration) -> Duration {
        self.pause.min(max)
    }
}
