//! How many calls a second an endpoint takes: found out by what it refuses.
//!
//! A token bucket whose rate adapts (additive increase, multiplicative decrease). It begins without a limit; the first
//! refusal shows what was too much. `governor` is not used here: its quota is fixed when a limiter is made, so every change
//! of the rate would forget what was spent, and it has no place for a provider's own "come again in so many seconds".

use std::time::{Duration, Instant};

/// Calls a second that are as good as no limit.
const RATE_MAX: f64 = 10_000.0;
/// Slower than this is no use to a watcher.
const RATE_MIN: f64 = 0.5;
/// What remains of the rate after a refusal.
const DECREASE: f64 = 0.5;
/// Calls a second, gained in each second of use without a refusal.
const INCREASE: f64 = 2.0;
/// Refusals of calls that were on their way together are one refusal.
const CUTS_APART: Duration = Duration::from_secs(1);
/// After the first refusal without a `Retry-After`; twice as long after each further one in a row …
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// … up to this.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest `Retry-After` that is honoured in full.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The calls of one endpoint. Every moment is the caller's.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: f64,
    tokens: f64,
    filled_at: Instant,
    blocked_until: Option<Instant>,
    cut_at: Option<Instant>,
    /// In a row.
    refusals: u32,
    use_: Use,
}

/// How much is really asked, in calls a second.
#[derive(Debug)]
struct Use {
    second_began: Instant,
    calls: f64,
    before: f64,
}

impl Rate {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            per_second: RATE_MAX,
            tokens: RATE_MAX,
            filled_at: now,
            blocked_until: None,
            cut_at: None,
            refusals: 0,
            use_: Use { second_began: now, calls: 0.0, before: 0.0 },
        }
    }

    /// Calls a second now; `None`: no limit has shown.
    pub(crate) fn per_second(&self) -> Option<f64> {
        (self.per_second < RATE_MAX).then_some(self.per_second)
    }

    /// How many calls may be made in so many seconds, at least one; `None`: no limit has shown.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the rate is positive and bounded")]
    pub(crate) fn calls_in(&self, seconds: u32) -> Option<u64> {
        self.per_second().map(|rate| ((rate * f64::from(seconds)) as u64).max(1))
    }

    /// How long the endpoint has asked to be left alone from now on.
    pub(crate) fn blocked_for(&self, now: Instant) -> Duration {
        self.blocked_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// How long a call would have to wait.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let filled = self.tokens + self.gained(now);
        let missing = if filled >= 1.0 { 0.0 } else { (1.0 - filled) / self.per_second };
        self.blocked_for(now).max(Duration::from_secs_f64(missing))
    }

    /// Takes so many calls at once, if they need not wait longer than that: after what time they may be sent.
    ///
    /// # Errors
    /// When they would have to wait longer; nothing was taken.
    pub(crate) fn take(&mut self, calls: u32, wait_max: Duration, now: Instant) -> Result<Duration, Duration> {
        let wait = self.wait(now);
        if wait > wait_max {
            return Err(wait);
        }
        self.fill(now);
        // Into the red: whoever comes next waits for it.
        self.tokens -= f64::from(calls);
        self.use_.note(f64::from(calls), now);
        Ok(wait)
    }

    /// The endpoint said that this was too much, and perhaps when to come again.
    pub(crate) fn refused(&mut self, retry_after: Option<Duration>, now: Instant) {
        // Whatever comes back during a pause was on its way before.
        if self.blocked_for(now).is_zero() {
            self.refusals = self.refusals.saturating_add(1);
        }
        let doubled = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(self.refusals.saturating_sub(1).min(16)));
        let pause = retry_after.map_or(doubled.min(PAUSE_MAX), |asked| asked.min(RETRY_AFTER_MAX));
        let until = now.checked_add(pause);
        self.blocked_until = self.blocked_until.max(until);
        if self.cut_at.is_some_and(|at| now.saturating_duration_since(at) < CUTS_APART) {
            return;
        }
        self.fill(now);
        self.cut_at = Some(now);
        self.per_second = (self.per_second.min(self.use_.per_second(now)) * DECREASE).max(RATE_MIN);
        // What was refused was not served: a second's worth is owed at most.
        self.tokens = self.tokens.clamp(-self.per_second, 1.0);
    }

    /// The endpoint answered.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.fill(now);
        self.refusals = 0;
    }

    fn gained(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.filled_at).as_secs_f64() * self.per_second
    }

    /// Tokens for the time that has passed, a second's worth at most; and the rate grows, but not for idling.
    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + self.gained(now)).min(self.per_second.max(1.0));
        self.filled_at = now;
        if self.blocked_for(now).is_zero() {
            self.per_second = (self.per_second + INCREASE * passed.min(1.0)).min(RATE_MAX);
        }
    }
}

impl Use {
    fn note(&mut self, calls: f64, now: Instant) {
        let passed = now.saturating_duration_since(self.second_began).as_secs_f64();
        if passed >= 1.0 {
            self.before = self.calls / passed;
            self.calls = 0.0;
            self.second_began = now;
        }
        self.calls += calls;
    }

    /// The larger of the second before and the one that runs.
    fn per_second(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.second_began).as_secs_f64();
        self.before.max(self.calls / passed.max(1.0))
    }
}
