//! The queue in front of the committer: bounded, so that overload is told to callers instead of kept in memory, and
//! gathered into groups while earlier ones are being written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::append::{Append, Appended, EVENTS_MAX};
use super::group::{Waiting, next_group};
use crate::error::AppendError;

/// Commands taken out of the queue to choose a group from. More than one group holds, so that commands that wait for
/// each other do not make the groups small.
const WINDOW: usize = 2 * EVENTS_MAX;
/// How often the committer lets others run while it waits for the callers of the last group to come back.
const LINGER_YIELDS: usize = 16;
/// And for how long at most, on a busy machine.
const LINGER_MAX: Duration = Duration::from_micros(500);

/// An append and who waits for its outcome.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) append: Append,
    answer: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Job {
    /// Tells the caller, if it still waits.
    pub(super) fn answer(self, outcome: Result<Appended, AppendError>) {
        // A caller that has gone away knows that the outcome is open.
        drop(self.answer.send(outcome));
    }
}

impl Waiting for Job {
    fn append(&self) -> &Append {
        &self.append
    }
}

/// The way into the committer. A cheap clone.
#[derive(Clone, Debug)]
pub struct Queue {
    sender: mpsc::Sender<Job>,
}

impl Queue {
    /// Writes an append together with whatever else waits. Answers after the commit. A caller that stops waiting does
    /// not stop the append.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let (answer, outcome) = oneshot::channel();
        self.sender.try_send(Job { append, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AppendError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => AppendError::ShuttingDown,
        })?;
        // A job is dropped unanswered only when the committer ends abnormally, perhaps in the middle of a commit.
        outcome.await.unwrap_or_else(|_| Err(AppendError::OutcomeUnknown(Arc::new(sqlx::Error::WorkerCrashed))))
    }
}

/// The committer's side of the queue.
#[derive(Debug)]
pub(super) struct Intake {
    receiver: mpsc::Receiver<Job>,
    waiting: VecDeque<Job>,
    group_commands_max: usize,
    last_group: usize,
    shutdown: CancellationToken,
}

impl Intake {
    /// A queue of at most `capacity` commands besides those in the window.
    pub(super) fn new(capacity: usize, group_commands_max: usize, shutdown: CancellationToken) -> (Queue, Self) {
        let (sender, receiver) = mpsc::channel(capacity);
        let intake = Self { receiver, waiting: VecDeque::new(), group_commands_max, last_group: 0, shutdown };
        (Queue { sender }, intake)
    }

    /// The next group, as soon as there is a command; `None` when the queue is closed and empty.
    pub(super) async fn next_group(&mut self) -> Option<Vec<Job>> {
        if self.waiting.is_empty() {
            let first = self.receive().await?;
            self.waiting.push_back(first);
        }
        self.gather().await;
        let group = next_group(&mut self.waiting, self.group_commands_max);
        self.last_group = group.len();
        metrics::gauge!("wopay_commands_queue_depth_total").set(depth(self.waiting.len() + self.receiver.len()));
        Some(group)
    }

    async fn receive(&mut self) -> Option<Job> {
        tokio::select! {
            biased;
            job = self.receiver.recv() => return job,
            () = self.shutdown.cancelled() => self.receiver.close(),
        }
        self.receiver.recv().await
    }

    /// Takes what has come in. The callers of the last group have just been answered and many send their next command at
    /// once: writing the first that arrives alone would make the others wait for a whole commit. So a few turns of the
    /// scheduler are left to them; on an idle machine these take microseconds.
    async fn gather(&mut self) {
        let started = Instant::now();
        for _ in 0..LINGER_YIELDS {
            self.take_ready();
            if self.waiting.len() >= self.last_group || started.elapsed() > LINGER_MAX {
                return;
            }
            tokio::task::yield_now().await;
        }
        self.take_ready();
    }

    fn take_ready(&mut self) {
        while self.waiting.len() < WINDOW {
            let Ok(job) = self.receiver.try_recv() else { return };
            self.waiting.push_back(job);
        }
    }
}

fn depth(commands: usize) -> f64 {
    u32::try_from(commands).map_or(f64::MAX, f64::from)
}
