//! Progress of what reads the whole log.

use wopay_audit::VerifyProgress;
use wopay_audit::replay::Progress;

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
        let all = progress.target.saturating_mul(i64::from(progress.passes.max(1)));
        self.0.count("reading", before.saturating_add(progress.position), all);
    }

    /// What is verified, from where it began.
    pub(super) fn show_verified(&self, progress: VerifyProgress) {
        let VerifyProgress { position, from, target } = progress;
        self.0.count("verifying", position.saturating_sub(from), target.saturating_sub(from));
    }

    pub(super) fn finish(&self) {
        self.0.finish();
    }
}
