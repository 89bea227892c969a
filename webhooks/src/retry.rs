//! When a failed delivery is tried again.

use std::time::Duration;

use rand::Rng;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// A receiver may ask for more patience than the schedule, but not for more than this.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * HOUR);
/// Pauses vary by a fifth of themselves in both directions, so that what failed together does not return together.
const JITTER_FRACTION: u64 = 5;

/// The pauses before each attempt, the first one included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySchedule(Vec<Duration>);

impl Default for RetrySchedule {
    /// At once, then after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h: more than three days.
    fn default() -> Self {
        let seconds = [0, 5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
        Self(seconds.into_iter().map(Duration::from_secs).collect())
    }
}

impl RetrySchedule {
    /// These pauses, the first of them before the first attempt (which is made at once whatever it says). An empty
    /// list means one attempt.
    #[must_use]
    pub fn new(pauses: Vec<Duration>) -> Self {
        Self(pauses)
    }

    /// How long to wait after so many failed attempts, `None` when that was the last. Between 80 % and 120 % of the
    /// schedule, but never less than what the receiver asked for (at most [`RETRY_AFTER_MAX`]).
    #[must_use]
    pub fn pause_after(&self, attempts: u32, retry_after: Option<Duration>) -> Option<Duration> {
        let index = usize::try_from(attempts).ok()?;
        let planned = self.0.get(index).copied().filter(|_| attempts > 0)?;
        let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        Some(jittered(planned).max(asked))
    }
}

fn jittered(pause: Duration) -> Duration {
    let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    let spread = millis / JITTER_FRACTION;
    let span = spread.saturating_mul(2);
    let offset = if span == 0 { 0 } else { rand::rng().random_range(0..=span) };
    Duration::from_millis(millis.saturating_sub(spread).saturating_add(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_attempts_with_a_fifth_of_jitter() {
        let schedule = RetrySchedule::default();
        let planned = [5_u64, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
        for (attempts, seconds) in (1..).zip(planned) {
            for _ in 0..200 {
                let pause = schedule.pause_after(attempts, None).unwrap().as_millis();
                let planned = u128::from(seconds) * 1_000;
                assert!((planned * 8 / 10..=planned * 12 / 10).contains(&pause), "{attempts}: {pause}");
            }
        }
        assert_eq!(schedule.pause_after(10, None), None);
        assert_eq!(schedule.pause_after(u32::MAX, None), None);
    }

    #[test]
    fn the_receiver_may_ask_for_more_patience_within_a_day() {
        let schedule = RetrySchedule::new(vec![Duration::ZERO, Duration::from_secs(10)]);
        let pause = |asked| schedule.pause_after(1, Some(Duration::from_secs(asked))).unwrap();
        assert_eq!(pause(60), Duration::from_secs(60));
        assert_eq!(pause(u64::MAX), RETRY_AFTER_MAX);
        assert!(pause(0) >= Duration::from_secs(8));
        assert_eq!(schedule.pause_after(2, Some(Duration::from_secs(60))), None);
    }

    #[test]
    fn an_empty_schedule_is_one_attempt() {
        assert_eq!(RetrySchedule::new(Vec::new()).pause_after(1, None), None);
    }
}
