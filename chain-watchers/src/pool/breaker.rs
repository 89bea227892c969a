//! A circuit breaker: an endpoint that fails again and again is left alone, then tried with one call.

use std::time::{Duration, Instant};

/// Failures in a row that open it.
const FAILURES_MAX: u32 = 5;
/// How long it is open the first time; twice as long each further time …
const OPEN_MIN: Duration = Duration::from_millis(500);
/// … up to this.
const OPEN_MAX: Duration = Duration::from_secs(5);
/// A probe that has not ended by then is given up: its caller was cancelled.
const PROBE_MAX: Duration = Duration::from_secs(15);
/// Closed for as long, it has forgotten how often it was open.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// Whether an endpoint is asked. Every moment is the caller's.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    /// In a row, while closed.
    failures: u32,
    /// How often it was opened without being forgiven.
    openings: u32,
}

#[derive(Debug)]
enum State {
    Closed {
        since: Instant,
    },
    Open {
        until: Instant,
    },
    /// One call is on its way.
    HalfOpen {
        until: Instant,
    },
}

/// What it says to the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    /// Go on.
    Closed,
    /// One call may find out whether the endpoint is back.
    Probe,
    /// Not before that time has passed.
    Open(Duration),
}

impl Breaker {
    pub(crate) fn new(now: Instant) -> Self {
        Self { state: State::Closed { since: now }, failures: 0, openings: 0 }
    }

    /// What the next call is told.
    pub(crate) fn permit(&self, now: Instant) -> Permit {
        match self.state {
            State::Closed { .. } => Permit::Closed,
            State::Open { until } | State::HalfOpen { until } => match until.saturating_duration_since(now) {
                Duration::ZERO => Permit::Probe,
                left => Permit::Open(left),
            },
        }
    }

    /// A call wants to be made. [`Permit::Probe`]: it is the one that finds out, others are refused meanwhile.
    pub(crate) fn begin(&mut self, now: Instant) -> Permit {
        let permit = self.permit(now);
        if permit == Permit::Probe {
            self.state = State::HalfOpen { until: now.checked_add(PROBE_MAX).unwrap_or(now) };
        }
        permit
    }

    /// Failures in a row up to now.
    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// A call was answered.
    pub(crate) fn succeeded(&mut self, now: Instant) {
        self.failures = 0;
        match self.state {
            State::Closed { since } if now.saturating_duration_since(since) >= FORGIVEN_AFTER => self.openings = 0,
            State::Closed { .. } => {}
            State::Open { .. } | State::HalfOpen { .. } => self.state = State::Closed { since: now },
        }
    }

    /// A call failed. `true`: that has opened it.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let opens = match self.state {
            State::Closed { .. } => self.failures >= FAILURES_MAX,
            State::HalfOpen { .. } => true,
            // Calls that were on their way when it was opened.
            State::Open { .. } => false,
        };
        if opens {
            let open_for = OPEN_MIN.saturating_mul(2_u32.saturating_pow(self.openings.min(16))).min(OPEN_MAX);
            self.openings = self.openings.saturating_add(1);
            self.state = State::Open { until: now.checked_add(open_for).unwrap_or(now) };
        }
        opens
    }
}
