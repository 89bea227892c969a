//! A lane of the committer: writes one group after another and answers each command by itself.
//!
//! When the connection breaks during a commit, nobody knows whether the group is in the ledger. Sending the group again
//! finds out without a race: under the lock on the ledger's head, a command that was written finds its stream moved on by
//! exactly its own events, and one that was not written is written now.

use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use tokio::sync::Mutex;
use tokio::time::Instant;
use wopay_eventbus::AppendSignal;

use super::append::{Append, Appended};
use super::committer::CommitterOptions;
use super::connection::{Failure, Reconnecting, classify, pauses, timed_out};
use super::intake::{Intake, Job};
use super::query::{self, GroupOutcome, LossReason};
use crate::error::{AppendError, SharedError};

/// After a group with losers, this many groups are checked for losers before they are written.
const CAREFUL_GROUPS: u32 = 16;

/// One connection and what it needs to serve the queue.
pub(super) struct Lane {
    connection: Reconnecting,
    signal: AppendSignal,
    options: CommitterOptions,
    /// The last group waited in vain: the next does not wait again, so that a queue of them is told soon.
    database_is_down: bool,
    /// Groups still to be checked.
    careful_groups: u32,
}

/// A group that was not written, or perhaps was, for a reason that all its commands share.
struct Failed {
    group: Vec<Job>,
    error: fn(SharedError) -> AppendError,
    source: SharedError,
    /// The database dislikes what the group holds, which may be the fault of one command.
    refused: bool,
}

impl Failed {
    fn answer(self) {
        tracing::error!(error = %self.source, commands = self.group.len(), "an append failed");
        for job in self.group {
            job.answer(Err((self.error)(Arc::clone(&self.source))));
        }
    }
}

impl Lane {
    /// A lane that connects when it has something to write.
    pub(super) fn new(database: &PgConnectOptions, signal: AppendSignal, options: CommitterOptions) -> Self {
        Self { connection: Reconnecting::new(database), signal, options, database_is_down: false, careful_groups: 0 }
    }

    /// Serves the queue until it is closed and empty.
    pub(super) async fn run(mut self, intake: Arc<Mutex<Intake>>) {
        loop {
            let next = intake.lock().await.next_group().await;
            let Some(group) = next else { return };
            self.write(group).await;
        }
    }

    /// Writes a group. If the database refuses it for what it holds, each command is tried alone, so that only the guilty
    /// one fails.
    async fn write(&mut self, group: Vec<Job>) {
        let Err(failed) = self.write_together(group).await else { return };
        if failed.group.len() == 1 || !failed.refused {
            return failed.answer();
        }
        tracing::warn!(commands = failed.group.len(), error = %failed.source, "a group is refused, writing one by one");
        for job in failed.group {
            if let Err(failed) = self.write_together(vec![job]).await {
                failed.answer();
            }
        }
    }

    async fn write_together(&mut self, group: Vec<Job>) -> Result<(), Failed> {
        let started = Instant::now();
        let deadline = if self.database_is_down { started } else { started + self.options.patience };
        let mut may_be_written = false;
        let mut pauses = pauses();
        loop {
            let error = match self.try_once(&group, deadline).await {
                Ok(outcome) => {
                    self.database_is_down = false;
                    let had_losers = !outcome.losers.is_empty();
                    self.careful_groups =
                        if had_losers { CAREFUL_GROUPS } else { self.careful_groups.saturating_sub(1) };
                    measure(&group, &outcome, started);
                    self.settle(group, outcome, may_be_written, deadline).await;
                    return Ok(());
                }
                Err(error) => error,
            };
            match error.failure {
                Some(Failure::Refused) => {
                    let source = Arc::new(error.source);
                    return Err(Failed { group, error: AppendError::Rejected, source, refused: true });
                }
                Some(Failure::Ambiguous) => {
                    self.connection.abandon();
                    may_be_written = true;
                    self.careful_groups = CAREFUL_GROUPS;
                }
                Some(Failure::Transient) | None => {}
            }
            let pause = pauses.next().unwrap_or_default();
            if Instant::now() + pause > deadline {
                self.database_is_down = true;
                let tell = if may_be_written { AppendError::OutcomeUnknown } else { AppendError::Unavailable };
                return Err(Failed { group, error: tell, source: Arc::new(error.source), refused: false });
            }
            tracing::warn!(error = %error.source, failure = ?error.failure, "an append failed, trying again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_once(&mut self, group: &[Job], deadline: Instant) -> Result<GroupOutcome, TryError> {
        let appends: Vec<&Append> = group.iter().map(|job| &job.append).collect();
        let careful = self.careful_groups > 0;
        let connection = self.connection.get(deadline).await.map_err(|source| TryError { source, failure: None })?;
        let written = query::append_group(connection, &appends, careful);
        let written = tokio::time::timeout(self.options.append_timeout, written);
        let source = match written.await {
            Ok(Ok(outcome)) => return Ok(outcome),
            Ok(Err(error)) => error,
            Err(_) => timed_out(),
        };
        Err(TryError { failure: Some(classify(&source)), source })
    }

    /// Tells every command its outcome. Winners have the positions from the first on, in the order of the group.
    async fn settle(&mut self, group: Vec<Job>, outcome: GroupOutcome, may_be_written: bool, deadline: Instant) {
        let mut next_position = outcome.first_position;
        let mut losers = outcome.losers.into_iter().peekable();
        let mut doubtful = Vec::new();
        for (index, job) in group.into_iter().enumerate() {
            match losers.next_if(|loser| loser.command == index).map(|loser| loser.reason) {
                None => {
                    let sequence = job.append.last_sequence();
                    next_position += sequence - job.append.expected;
                    job.answer(Ok(Appended { position: next_position - 1, sequence }));
                }
                Some(LossReason::Sequence { found }) if may_be_written => doubtful.push((job, found)),
                Some(LossReason::Sequence { found }) => {
                    let expected = job.append.expected;
                    job.answer(Err(AppendError::Conflict { expected, found }));
                }
                Some(LossReason::Claim(taken)) => job.answer(Err(AppendError::ClaimTaken(Box::new(taken)))),
            }
        }
        if next_position > outcome.first_position || !doubtful.is_empty() {
            self.signal.appended(next_position - 1);
        }
        for (job, found) in doubtful {
            self.settle_doubtful(job, found, deadline).await;
        }
    }

    /// A command that was sent before the connection broke finds its stream moved on: by itself?
    async fn settle_doubtful(&mut self, job: Job, found: i64, deadline: Instant) {
        let mut pauses = pauses();
        loop {
            let source = match self.find_first_event(&job.append, deadline).await {
                Ok(Some(first_position)) => {
                    metrics::counter!("wopay_commands_recovered_outcomes_total").increment(1);
                    let sequence = job.append.last_sequence();
                    let position = first_position + sequence - job.append.expected - 1;
                    return job.answer(Ok(Appended { position, sequence }));
                }
                Ok(None) => {
                    let expected = job.append.expected;
                    return job.answer(Err(AppendError::Conflict { expected, found }));
                }
                Err(error) => error,
            };
            self.connection.abandon();
            let pause = pauses.next().unwrap_or_default();
            if Instant::now() + pause > deadline {
                return job.answer(Err(AppendError::OutcomeUnknown(Arc::new(source))));
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn find_first_event(&mut self, append: &Append, deadline: Instant) -> Result<Option<i64>, sqlx::Error> {
        let connection = self.connection.get(deadline).await?;
        query::find_first_event(connection, append).await
    }
}

/// Why one try did not write a group.
struct TryError {
    source: sqlx::Error,
    /// `None` when there was no connection, so that nothing was sent.
    failure: Option<Failure>,
}

fn measure(group: &[Job], outcome: &GroupOutcome, started: Instant) {
    let events: usize = group.iter().map(|job| job.append.event_count()).sum();
    metrics::histogram!("wopay_commands_append_seconds").record(started.elapsed());
    metrics::histogram!("wopay_commands_append_size_events").record(u32::try_from(events).map_or(f64::MAX, f64::from));
    for loser in &outcome.losers {
        let reason = match loser.reason {
            LossReason::Sequence { .. } => "sequence",
            LossReason::Claim(_) => "claim",
        };
        metrics::counter!("wopay_commands_conflicts_total", "reason" => reason).increment(1);
    }
}
