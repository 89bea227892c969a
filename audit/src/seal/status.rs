//! What a sealer is doing, for readiness and tests.

use tokio::sync::watch;

/// What a sealer is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealState {
    /// It has not got so far as to know.
    Starting,
    /// Another instance seals.
    Standby,
    /// It seals.
    Sealing {
        /// Events sealed.
        size: i64,
        /// Events there are, as of its last look.
        head: i64,
        /// What keeps the copy on disk from being up to date.
        copy_error: Option<String>,
    },
    /// It must not sign what it finds. A person has to look.
    Refused {
        /// Why.
        reason: String,
    },
    /// The database fails; it tries on.
    Failing {
        /// What it says.
        reason: String,
    },
}

/// A view of a sealer that is running somewhere.
#[derive(Clone, Debug)]
pub struct SealerStatus {
    state: watch::Sender<SealState>,
}

impl SealerStatus {
    pub(super) fn new() -> Self {
        Self { state: watch::Sender::new(SealState::Starting) }
    }

    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> SealState {
        self.state.borrow().clone()
    }

    pub(super) fn set(&self, state: SealState) {
        let refused = matches!(state, SealState::Refused { .. });
        metrics::gauge!("wopay_audit_refused").set(f64::from(u8::from(refused)));
        if let SealState::Sealing { size, head, .. } = &state {
            // Exact up to 2^53, and a metric is a float anyway.
            metrics::gauge!("wopay_audit_sealed_position").set(*size as f64);
            metrics::gauge!("wopay_audit_seal_lag_events").set((head - size).max(0) as f64);
        }
        self.state.send_replace(state);
    }
}
