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
    stage: Option<Stage>,
}

impl EventsBar {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let is_terminal = std::io::stderr().is_terminal();
        let lines = (!is_terminal).then(|| Mutex::new(Lines { started: now, printed: now, stage: None }));
        let bar = ProgressBar::new(0);
        let template = "{msg:10} {bar:40} {human_pos}/{human_len} events  {per_sec}  {eta} left";
        // The template is constant: if it were wrong, the plain bar would do.
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        if is_terminal {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar, lines }
    }

    pub(super) fn show(&self, progress: Progress) {
        let position = u64::try_from(progress.position).unwrap_or(0);
        let target = u64::try_from(progress.target).unwrap_or(0);
        if let Some(lines) = &self.lines {
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(line) = lines.next(progress.stage, position, target) {
                eprintln!("{line}");
            }
        } else {
            self.bar.set_message(progress.stage.as_str());
            self.bar.set_length(target);
            self.bar.set_position(position);
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Lines {
    /// The line that is due: every few seconds, and with the end of what takes longer than that.
    fn next(&mut self, stage: Stage, position: u64, target: u64) -> Option<String> {
        let is_late = self.printed.elapsed() >= LINE_EVERY;
        let changed = self.stage != Some(stage);
        self.stage = Some(stage);
        let took_long = self.started.elapsed() >= LINE_EVERY;
        if !(is_late || changed && took_long) {
            return None;
        }
        self.printed = Instant::now();
        if stage != Stage::Applying {
            return Some(format!("{} at position {}", stage.as_str(), HumanCount(position)));
        }
        let seconds = self.started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        // Estimates for people: floats will do.
        let rate = position as f64 / seconds;
        let left = Duration::try_from_secs_f64(target.saturating_sub(position) as f64 / rate).unwrap_or_default();
        Some(format!(
            "{} {}/{} events, {rate:.0} events/s, {} left",
            stage.as_str(),
            HumanCount(position),
            HumanCount(target),
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
        let mut lines = Lines { started, printed: started, stage: None };
        let line = lines.next(Stage::Applying, 1_000, 3_000).unwrap_or_default();
        assert_eq!(line, "applying 1,000/3,000 events, 100 events/s, 20 seconds left");
        assert_eq!(lines.next(Stage::Applying, 1_100, 3_000), None);
        assert!(lines.next(Stage::Indexing, 3_000, 3_000).is_some_and(|line| line.starts_with("indexing")));
    }
}
