//! The committer of one ledger in one process: starts its lanes and stops them when all that waits is written.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wopay_eventbus::AppendSignal;

use super::intake::{Intake, Queue};
use super::lane::Lane;

/// How the committer works.
#[derive(Clone, Copy, Debug)]
pub struct CommitterOptions {
    /// Commands that may wait; one more is refused as [`AppendError::Overloaded`](crate::AppendError::Overloaded).
    pub queue_capacity: usize,
    /// The most commands in one append. The events and bytes of a group are bounded too.
    pub group_commands_max: usize,
    /// Connections that append: while one waits for the disk, the next group travels. At least 1.
    pub lanes: usize,
    /// How long a group waits for a database that went away before its callers are told.
    pub patience: Duration,
    /// How long one append may take before its connection is given up.
    pub append_timeout: Duration,
}

impl Default for CommitterOptions {
    fn default() -> Self {
        Self {
            queue_capacity: 8192,
            group_commands_max: 256,
            lanes: 1,
            patience: Duration::from_secs(5),
            append_timeout: Duration::from_secs(30),
        }
    }
}

/// The running committer of one ledger in this process.
#[derive(Debug)]
pub(crate) struct Committer {
    shutdown: CancellationToken,
    /// Never aborted: a lane in the middle of a commit must live to tell its callers.
    lanes: Mutex<Vec<JoinHandle<()>>>,
}

impl Committer {
    /// Starts it; must be called inside a tokio runtime.
    pub(crate) fn start(
        database: &PgConnectOptions,
        signal: &AppendSignal,
        options: CommitterOptions,
    ) -> (Queue, Self) {
        let shutdown = CancellationToken::new();
        let (queue, intake) = Intake::new(options.queue_capacity, options.group_commands_max, shutdown.clone());
        let intake = Arc::new(Mutex::new(intake));
        let lane = || Lane::new(database, signal.clone(), options).run(Arc::clone(&intake));
        let lanes = (0..options.lanes.max(1)).map(|_| tokio::spawn(lane())).collect();
        (queue, Self { shutdown, lanes: Mutex::new(lanes) })
    }

    /// Takes no more commands, writes those that wait, and ends.
    pub(crate) async fn shutdown(&self) {
        self.shutdown.cancel();
        let mut lanes = self.lanes.lock().await;
        for lane in lanes.drain(..) {
            if let Err(error) = lane.await {
                tracing::error!(error = %error, "the committer ended abnormally");
            }
        }
    }
}
