//! Progress of what reads the whole log.

use wopay_audit::replay::Progress;
use wopay_projections::Stage;

use crate::cli::progress::EventsBar;

/// Shows it on standard error: a bar on a terminal, a line now and then elsewhere.
pub(super) struct LogBar(EventsBar);

impl LogBar {
    pub(super) fn new() -> Self {
        Self(EventsBar::new())
    }

    /// The passes one after the other, as one.
    pub(super) fn show(&self, progress: Progress) {
        let before = progress.target.saturating_mul(i64::from(progress.pass.saturating_sub(1)));
        self.0.show(wopay_projections::Progress {
            stage: Stage::Applying,
            position: before.saturating_add(progress.position),
            target: progress.target.saturating_mul(i64::from(progress.passes.max(1))),
        });
    }

    pub(super) fn finish(&self) {
        self.0.finish();
    }
}
