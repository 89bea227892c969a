//! What is known of one endpoint, from every call made to it: whether it may be asked, and how fit it is.

use std::cmp::Reverse;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::gauge;
use wopay_domain::{ChainName, Timestamp};

use super::breaker::{Breaker, Permit};
use super::budget::Budget;
use super::choice::{Candidate, Fitness, Latency};
use super::rate::Rate;
use crate::status::{EndpointHealth, EndpointState};

/// A call that would have to wait longer for its turn is refused at once: another endpoint may be free.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Work that can wait does not wait through longer pauses than this, which endpoints ask for …
const PAUSE_WAIT_MAX: Duration = Duration::from_secs(10);
/// … and not longer than this for its turn.
const TURN_WAIT_MAX: Duration = Duration::from_secs(60);
/// An endpoint that cannot be asked sooner is not the first choice.
const WAIT_FIT: Duration = Duration::from_millis(100);
/// After the first usable call without a usable answer others are preferred for so long; twice as long after each more …
const STRAINED_MIN: Duration = Duration::from_secs(5);
/// … up to this, …
const STRAINED_MAX: Duration = Duration::from_secs(300);
/// … until it gave none for so long.
const STRIKES_FORGOTTEN_AFTER: Duration = Duration::from_secs(900);

/// One endpoint's record. Shared by its client, which asks before every call, and by the pool, which chooses.
#[derive(Debug)]
pub(crate) struct Meter {
    chain: ChainName,
    endpoint: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rate: Rate,
    breaker: Breaker,
    budget: Option<Budget>,
    latency: Latency,
    strikes: Strikes,
    /// Why the last failed call failed.
    failure: String,
    /// In what it is not what the configuration says.
    wrong: Option<String>,
    /// The newest block that it has shown.
    head: Option<SeenHead>,
    /// Compared with the others: in what it is behind.
    behind: Option<String>,
}

/// The newest block that an endpoint has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeenHead {
    pub(crate) height: u64,
    pub(crate) time: Timestamp,
}

/// Answers that were of no use: contradictions, holes, time-outs.
#[derive(Debug, Default)]
struct Strikes {
    count: u32,
    last: Option<Instant>,
}

/// How long a call may wait for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not long: somebody waits for the answer, and another endpoint may be free.
    Short,
    /// As long as it takes, within limits, after all those that cannot wait.
    Long,
}

/// Why a call may not be made at once.
enum Withheld {
    /// Not now, for people.
    Now(String),
    /// Not before so much time has passed.
    For(Duration),
}

/// What a call came to.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The endpoint answered, be it with an error of its own.
    Answered,
    /// It wants to be asked less, and perhaps says when to come again.
    Refused(Option<Duration>),
    /// It did not answer, or not as an endpoint does: why.
    Failed(String),
}

impl Meter {
    pub(crate) fn new(chain: ChainName, endpoint: String, budget_per_hour: Option<u64>) -> Self {
        let now = Instant::now();
        let state = State {
            rate: Rate::new(now),
            breaker: Breaker::new(now),
            budget: budget_per_hour.map(|calls| Budget::new(calls, now)),
            latency: Latency::default(),
            strikes: Strikes::default(),
            failure: String::new(),
            wrong: None,
            head: None,
            behind: None,
        };
        Self { chain, endpoint, state: Mutex::new(state) }
    }

    /// A panic elsewhere leaves counts behind that are good enough.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many calls may be made at once.
    ///
    /// # Errors
    /// Why they may not be made now, for people.
    pub(crate) async fn admit(&self, calls: u32, patience: Patience) -> Result<(), String> {
        match patience {
            Patience::Short => self.admit_soon(calls).await,
            Patience::Long => self.admit_in_turn(calls).await,
        }
    }

    /// Takes a place in the queue now, if it is short.
    async fn admit_soon(&self, calls: u32) -> Result<(), String> {
        let wait = self.admit_at(calls, WAIT_MAX, Instant::now()).map_err(Withheld::shown)?;
        if wait.is_zero() {
            return Ok(());
        }
        tokio::time::sleep(wait).await;
        // Others were refused meanwhile.
        let blocked = self.lock().rate.blocked_for(Instant::now());
        match blocked {
            Duration::ZERO => Ok(()),
            blocked if blocked <= WAIT_MAX => {
                tokio::time::sleep(blocked).await;
                Ok(())
            }
            blocked => Err(throttled(blocked)),
        }
    }

    /// Takes nothing before it may be used: who gives up while waiting has cost nothing, and who cannot wait goes first.
    async fn admit_in_turn(&self, calls: u32) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let wait = match self.admit_at(calls, Duration::ZERO, Instant::now()) {
                Ok(_) => return Ok(()),
                Err(Withheld::For(wait)) => wait,
                Err(withheld) => return Err(withheld.shown()),
            };
            let pause = self.lock().rate.blocked_for(Instant::now());
            if pause > PAUSE_WAIT_MAX || begun.elapsed() > TURN_WAIT_MAX {
                return Err(throttled(wait));
            }
            tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        }
    }

    /// After what time so many calls may be sent, no longer than that; they are taken for sent.
    fn admit_at(&self, calls: u32, wait_max: Duration, now: Instant) -> Result<Duration, Withheld> {
        let mut state = self.lock();
        let state = &mut *state;
        let open = |left: Duration| {
            let (failures, last) = (state.breaker.failures(), &state.failure);
            let why =
                format!("it is left alone for {} after {failures} failures in a row, the last: {last}", shown(left));
            Withheld::Now(why)
        };
        if let Permit::Open(left) = state.breaker.permit(now) {
            return Err(open(left));
        }
        if let Some(budget) = &mut state.budget
            && budget.left(now) < u64::from(calls)
        {
            return Err(Withheld::Now(spent(budget.per_hour())));
        }
        let wait = state.rate.take(calls, wait_max, now).map_err(Withheld::For)?;
        if let Some(budget) = &mut state.budget {
            budget.take(u64::from(calls), now);
        }
        state.breaker.begin(now);
        Ok(wait)
    }

    /// How many calls may be made in so many seconds, at least one; `None`: no limit has shown.
    pub(crate) fn calls_in(&self, seconds: u32) -> Option<u64> {
        self.lock().rate.calls_in(seconds)
    }

    /// Notes what a call came to. `true`: the endpoint is left alone from now on.
    pub(crate) fn note(&self, outcome: Outcome) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        match outcome {
            Outcome::Answered => {
                state.rate.answered(now);
                state.breaker.succeeded(now);
                false
            }
            Outcome::Refused(retry_after) => {
                state.rate.refused(retry_after, now);
                // Whoever refuses is there.
                state.breaker.succeeded(now);
                false
            }
            Outcome::Failed(why) => {
                state.failure = why;
                state.breaker.failed(now)
            }
        }
    }

    /// An answer was of no use.
    pub(crate) fn strike(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        let strikes = &mut state.strikes;
        let forgotten = strikes.last.is_none_or(|last| now.saturating_duration_since(last) > STRIKES_FORGOTTEN_AFTER);
        // Calls on their way together are one strike.
        let same = strikes.last.is_some_and(|last| now.saturating_duration_since(last) < Duration::from_secs(1));
        strikes.count = match (forgotten, same) {
            (true, _) => 1,
            (false, true) => strikes.count,
            (false, false) => strikes.count.saturating_add(1),
        };
        strikes.last = Some(now);
    }

    /// How long the endpoint took to answer the question that all are asked.
    pub(crate) fn note_latency(&self, taken: Duration) {
        self.lock().latency.note(taken);
    }

    /// The newest block that the endpoint has.
    pub(crate) fn note_head(&self, height: u64, time: Timestamp) {
        self.lock().head = Some(SeenHead { height, time });
    }

    pub(crate) fn head(&self) -> Option<SeenHead> {
        self.lock().head
    }

    pub(crate) fn set_behind(&self, behind: Option<String>) {
        self.lock().behind = behind;
    }

    pub(crate) fn set_wrong(&self, wrong: Option<String>) {
        self.lock().wrong = wrong;
    }

    /// What the choice looks at.
    pub(crate) fn candidate(&self) -> Candidate {
        let now = Instant::now();
        let mut state = self.lock();
        let permit = state.breaker.permit(now);
        let (left, nearly) = match &mut state.budget {
            Some(budget) => (budget.left(now), budget.is_nearly_spent(now)),
            None => (u64::MAX, false),
        };
        let wait = state.rate.wait(now);
        let fitness = match permit {
            Permit::Open(_) => None,
            _ if left == 0 || wait > WAIT_MAX => None,
            Permit::Probe => Some(Fitness::Probe),
            Permit::Closed if state.behind.is_some() => {
                Some(Fitness::Behind(Reverse(state.head.map_or(0, |head| head.height))))
            }
            Permit::Closed if nearly || wait > WAIT_FIT || state.strikes.weigh(now) || state.breaker.failures() > 0 => {
                Some(Fitness::Strained)
            }
            Permit::Closed => Some(Fitness::Good),
        };
        Candidate { fitness, latency: state.latency }
    }

    /// Why it is not asked now, if it is not.
    pub(crate) fn withheld(&self) -> Option<String> {
        let now = Instant::now();
        let mut state = self.lock();
        if let Permit::Open(left) = state.breaker.permit(now) {
            return Some(format!("it is left alone for {}: {}", shown(left), state.failure));
        }
        if let Some(budget) = &mut state.budget
            && budget.left(now) == 0
        {
            return Some(spent(budget.per_hour()));
        }
        let wait = state.rate.wait(now);
        (wait > WAIT_MAX).then(|| throttled(wait))
    }

    /// How the endpoint is doing, for people and metrics.
    pub(crate) fn health(&self, in_use: bool) -> EndpointHealth {
        let withheld = self.withheld();
        let now = Instant::now();
        let mut state = self.lock();
        let permit = state.breaker.permit(now);
        let health = match (&state.wrong, withheld, &state.behind) {
            (Some(reason), ..) => EndpointState::Wrong { reason: reason.clone() },
            (None, Some(reason), _) => EndpointState::Withheld { reason },
            // Why it was left alone holds until it has answered.
            (None, None, _) if permit != Permit::Closed => EndpointState::Withheld { reason: state.failure.clone() },
            (None, None, Some(reason)) => EndpointState::Behind { reason: reason.clone() },
            (None, None, None) => EndpointState::Good,
        };
        self.show(&mut state, &health, in_use, now);
        EndpointHealth { endpoint: self.endpoint.clone(), state: health, in_use }
    }

    #[allow(clippy::cast_precision_loss, reason = "gauges")]
    fn show(&self, state: &mut State, health: &EndpointState, in_use: bool, now: Instant) {
        let labels = [("chain", self.chain.to_string()), ("endpoint", self.endpoint.clone())];
        for name in EndpointState::NAMES {
            let mut labels = labels.to_vec();
            labels.push(("state", (*name).to_owned()));
            gauge!("wopay_chain_watchers_endpoint_state", &labels).set(if *name == health.name() { 1.0 } else { 0.0 });
        }
        gauge!("wopay_chain_watchers_endpoint_in_use", &labels).set(if in_use { 1.0 } else { 0.0 });
        let rate = state.rate.per_second().unwrap_or(f64::INFINITY);
        gauge!("wopay_chain_watchers_endpoint_calls_per_second_max", &labels).set(rate);
        if let Some(seconds) = state.latency.seconds() {
            gauge!("wopay_chain_watchers_endpoint_latency_seconds", &labels).set(seconds);
        }
        if let Some(head) = state.head {
            gauge!("wopay_chain_watchers_endpoint_head_blocks", &labels).set(head.height as f64);
        }
        if let Some(budget) = &mut state.budget {
            gauge!("wopay_chain_watchers_endpoint_budget_left_calls", &labels).set(budget.left(now) as f64);
        }
    }
}

impl Withheld {
    /// For people.
    fn shown(self) -> String {
        match self {
            Self::Now(why) => why,
            Self::For(wait) => throttled(wait),
        }
    }
}

impl Strikes {
    /// Whether they still count.
    fn weigh(&self, now: Instant) -> bool {
        let Some(last) = self.last else { return false };
        let doubled = STRAINED_MIN.saturating_mul(2_u32.saturating_pow(self.count.saturating_sub(1).min(16)));
        now.saturating_duration_since(last) < doubled.min(STRAINED_MAX)
    }
}

fn throttled(wait: Duration) -> String {
    format!("it takes no more calls for {}: it refused some as too many", shown(wait))
}

fn spent(per_hour: u64) -> String {
    format!("its budget of {per_hour} calls an hour is spent")
}

/// To a tenth of a second.
fn shown(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
