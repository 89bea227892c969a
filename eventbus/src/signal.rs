//! How an append wakes those in the same process who wait for one.

use std::sync::Arc;

use tokio::sync::watch;

/// Tells the relay and the sealer in this process that something was appended. A hint only: without it they poll.
#[derive(Clone, Debug)]
pub struct AppendSignal {
    newest: Arc<watch::Sender<i64>>,
}

impl AppendSignal {
    /// A signal that nobody has given yet.
    #[must_use]
    pub fn new() -> Self {
        Self { newest: Arc::new(watch::Sender::new(0)) }
    }

    /// The append that ended at `position` has committed. Never blocks.
    pub fn appended(&self, position: i64) {
        self.newest.send_if_modified(|newest| {
            let newer = position > *newest;
            *newest = position.max(*newest);
            newer
        });
    }

    /// Notices what is appended from now on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<i64> {
        self.newest.subscribe()
    }
}

impl Default for AppendSignal {
    fn default() -> Self {
        Self::new()
    }
}
