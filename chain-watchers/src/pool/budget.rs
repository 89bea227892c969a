//! How many calls an endpoint may be asked in an hour.

use std::time::{Duration, Instant};

const MINUTES: usize = 60;
const MINUTE: Duration = Duration::from_secs(60);
/// Of what is left, the part at which other endpoints are preferred: a tenth.
const NEARLY_SPENT: u64 = 10;

/// The calls of the last sixty minutes, counted by the minute. It is kept in memory: a restart begins a new hour.
#[derive(Debug)]
pub(crate) struct Budget {
    per_hour: u64,
    began: Instant,
    minutes: [u64; MINUTES],
    /// The minute since `began` that was last counted in.
    newest: u64,
}

impl Budget {
    pub(crate) const fn new(per_hour: u64, now: Instant) -> Self {
        Self { per_hour, began: now, minutes: [0; MINUTES], newest: 0 }
    }

    pub(crate) const fn per_hour(&self) -> u64 {
        self.per_hour
    }

    /// Calls that may still be made in this hour.
    pub(crate) fn left(&mut self, now: Instant) -> u64 {
        self.turn(now);
        self.per_hour.saturating_sub(self.minutes.iter().sum())
    }

    /// Whether little of it is left.
    pub(crate) fn is_nearly_spent(&mut self, now: Instant) -> bool {
        self.left(now) < self.per_hour / NEARLY_SPENT
    }

    /// Takes so many calls. `false`: there are not as many left, and nothing was taken.
    pub(crate) fn take(&mut self, calls: u64, now: Instant) -> bool {
        let fits = self.left(now) >= calls;
        if fits && let Some(minute) = self.minutes.get_mut(slot(self.newest)) {
            *minute = minute.saturating_add(calls);
        }
        fits
    }

    /// Forgets the minutes that are more than an hour ago.
    fn turn(&mut self, now: Instant) {
        let minute = now.saturating_duration_since(self.began).as_secs() / MINUTE.as_secs();
        for passed in self.newest.saturating_add(1)..=minute.min(self.newest.saturating_add(60)) {
            if let Some(count) = self.minutes.get_mut(slot(passed)) {
                *count = 0;
            }
        }
        if minute > self.newest.saturating_add(60) {
            self.minutes = [0; MINUTES];
        }
        self.newest = minute.max(self.newest);
    }
}

fn slot(minute: u64) -> usize {
    usize::try_from(minute % 60).unwrap_or_default()
}
