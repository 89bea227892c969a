//! How the planner tells the deliverer in the same process that there is something to do. Only a hint: a deliverer that
//! hears nothing finds the rows by itself, a little later.

use std::sync::Arc;

use tokio::sync::Notify;

/// Clones wake each other.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// Wakes one waiter, or the next that comes.
    pub(crate) fn wake(&self) {
        self.0.notify_one();
    }

    pub(crate) async fn woken(&self) {
        self.0.notified().await;
    }
}
