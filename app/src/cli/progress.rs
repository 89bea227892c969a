//! Progress over events: a bar on a terminal, a line now and then elsewhere. Always on standard error.

use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use wopay_projections::{Progress, Stage};

/// Between two lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how far something has come through the ledger.
pub(super) struct EventsBar {
    bar: ProgressBar,
    /// When lines are printed instead: what was printed last.
    lines: Option<Mutex<Lines>>,
}

struct Lines {
    started: Instant,
    printed: Instant,
    label: Option<&'static str>,
}

impl EventsBar {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let is_terminal = std::io::stderr().is_terminal();
        let lines = (!is_terminal).then(|| Mutex::new(Lines { started: now, printed: now, label: None }));
        let bar = ProgressBar::new(0);
        let template = "{msg:10} {bar:40} {human_pos}/{human_len} events  {per_sec}  {eta} left";
        // The template is constant: if it were wrong, the plain bar would do.
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        if is_terminal {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar, lines }
    }

    /// A rebuild's progress.
    pub(super) fn show(&self, progress: Progress) {
        let is_counted = progress.stage == Stage::Applying;
        self.tell(progress.stage.as_str(), count(progress.position), count(progress.target), is_counted);
    }

    /// So many events of all that there are; `label` is what is done with them.
    pub(super) fn count(&self, label: &'static str, done: i64, all: i64) {
        self.tell(label, count(done), count(all), true);
    }

    fn tell(&self, label: &'static str, done: u64, all: u64, is_counted: bool) {
        if let Some(lines) = &self.lines {
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(line) = lines.next(label, done, is_counted.then_some(all)) {
                eprintln!("{line}");
            }
        } else {
            self.bar.set_message(label);
            self.bar.set_length(all);
            self.bar.set_position(done);
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn count(events: i64) -> u64 {
    u64::try_from(events).unwrap_or(0)
}

impl Lines {
    /// The line that is due: every few seconds, and with the end of what takes longer than that. With rate and estimate if
    /// it is known how many events there are in all.
    fn next(&mut self, label: &'static str, done: u64, all: Option<u64>) -> Option<String> {
        let is_late = self.printed.elapsed() >= LINE_EVERY;
        let changed = self.label != Some(label);
        self.label = Some(label);
        let took_long = self.started.elapsed() >= LINE_EVERY;
        if !(is_late || changed && took_long) {
            return None;
        }
        self.printed = Instant::now();
        let Some(all) = all else { return Some(format!("{label} at position {}", HumanCount(done))) };
        let seconds = self.started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        // Estimates for people: floats will do.
        let rate = done as f64 / seconds;
        let left = Duration::try_from_secs_f64(all.saturating_sub(done) as f64 / rate).unwrap_or_default();
        Some(format!(
            "{label} {}/{} events, {rate:.0} events/s, {} left",
            HumanCount(done),
            HumanCount(all),
            HumanDuration(left),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_now_and_then_with_rate_and_estimate() {
        let Some(started) = Instant::now().checked_sub(Duration::from_secs(10)) else { return };
        let mut lines = Lines { started, printed: started, label: None };
        let line = lines.next("applying", 1_000, Some(3_000)).unwrap_or_default();
        assert_eq!(line, "applying 1,000/3,000 events, 100 events/s, 20 seconds left");
        assert_eq!(lines.next("applying", 1_100, Some(3_000)), None);
        assert_eq!(lines.next("indexing", 3_000, None).as_deref(), Some("indexing at position 3,000"));
    }
}
