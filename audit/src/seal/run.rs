//! The sealer's loop.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wopay_eventbus::{AppendSignal, log};

use super::batch::{Batch, hash_events};
use super::error::{Refusal, SealError};
use super::leader::Leader;
use super::status::{SealState, SealerStatus};
use crate::checkpoint::{SignedCheckpoint, read_copy, write_copy};
use crate::key::AuditKey;
use crate::store::StoredCheckpoint;
use crate::tiles::TileError;
use crate::tree::Frontier;

/// Events sealed by one transaction: 2 MiB of hashes.
pub(crate) const BATCH_EVENTS_MAX: i64 = 65_536;
/// Between two seals, so that a stream of single appends makes few checkpoints, and each is still sealed within a second.
const PACE: Duration = Duration::from_millis(400);
/// Between two looks at an idle ledger: appends of other processes give no signal.
const POLL: Duration = Duration::from_millis(200);
const STANDBY_PAUSE: Duration = Duration::from_millis(500);
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// What a sealer is told.
#[derive(Clone, Debug)]
pub struct SealerOptions {
    /// The ledger's name: one sealer of that name leads.
    pub ledger: String,
    /// Where the copy of the newest checkpoint lies.
    pub checkpoint_file: PathBuf,
}

/// What is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Events that were sealed before.
    pub before: i64,
    /// Events that are sealed now.
    pub size: i64,
}

/// Seals a ledger. Several may run for one ledger; one leads, the others stand by.
#[derive(Debug)]
pub struct Sealer {
    pool: PgPool,
    key: AuditKey,
    options: SealerOptions,
    wake: AppendSignal,
    status: SealerStatus,
}

/// The log as far as it is sealed.
struct Log {
    tree: Frontier,
    size: i64,
    /// What the copy on disk should say; `None` when it does.
    uncopied: Option<String>,
}

impl Sealer {
    /// A sealer of the ledger that `pool`'s `search_path` leads to. `wake` is given by appends in this process; those of
    /// others are found by polling.
    #[must_use]
    pub fn new(pool: PgPool, key: AuditKey, options: SealerOptions, wake: AppendSignal) -> Self {
        Self { pool, key, options, wake, status: SealerStatus::new() }
    }

    /// What it is doing, also while it runs.
    #[must_use]
    pub fn status(&self) -> SealerStatus {
        self.status.clone()
    }

    /// Runs until `token` is cancelled.
    pub async fn run(self, token: CancellationToken) {
        // Stopping in the middle is no different from a crash: what is sealed is found again.
        token.run_until_cancelled(Box::pin(self.stand_and_lead())).await;
    }

    /// Seals what there is now, and returns.
    ///
    /// # Errors
    /// See [`SealError`].
    pub async fn seal_now(&self) -> Result<Sealed, SealError> {
        let mut leader = Leader::acquire(&self.pool, &self.options.ledger).await?.ok_or(SealError::Standby)?;
        let sealed = self.seal_all(&mut leader).await;
        leader.resign().await?;
        sealed
    }

    async fn seal_all(&self, leader: &mut Leader) -> Result<Sealed, SealError> {
        let mut log = self.open(leader).await?;
        let before = log.size;
        let head = leader.head().await?;
        while log.size < head {
            self.seal_batch(leader, &mut log, head).await?;
        }
        self.copy(&mut log).map_err(SealError::Copy)?;
        Ok(Sealed { before, size: log.size })
    }

    async fn stand_and_lead(&self) -> Infallible {
        loop {
            let pause = match Leader::acquire(&self.pool, &self.options.ledger).await {
                Ok(Some(mut leader)) => {
                    let Err(error) = self.lead(&mut leader).await;
                    self.report(&error)
                }
                Ok(None) => self.report(&SealError::Standby),
                Err(error) => self.report(&SealError::Database(error)),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Seals until something fails.
    async fn lead(&self, leader: &mut Leader) -> Result<Infallible, SealError> {
        let mut appended = self.wake.subscribe();
        let mut log = self.open(leader).await?;
        let mut reported = None;
        tracing::info!(ledger = self.options.ledger, size = log.size, "the sealer leads");
        loop {
            appended.mark_unchanged();
            let head = leader.head().await?;
            if head < log.size {
                return Err(Refusal::Shortened { head, sealed: log.size }.into());
            }
            let is_behind = head > log.size;
            if is_behind {
                self.seal_batch(leader, &mut log, head).await?;
            }
            let copied = self.copy(&mut log);
            let copy_error = copied.as_ref().err().map(|error| chain(error));
            if let Some(error) = copy_error.as_ref().filter(|_| reported != copy_error) {
                tracing::error!(error, "the copy of the newest checkpoint is not up to date");
            }
            reported.clone_from(&copy_error);
            self.status.set(SealState::Sealing { size: log.size, head, copy_error });
            if is_behind && log.size == head {
                tokio::time::sleep(PACE).await;
            } else if !is_behind {
                wait(&mut appended).await;
            }
        }
    }

    /// What is sealed, after making sure that it can be extended.
    async fn open(&self, leader: &mut Leader) -> Result<Log, SealError> {
        let keys = std::slice::from_ref(self.key.public());
        let copy = read_copy(&self.options.checkpoint_file, keys).map_err(Refusal::Copy)?;
        let stored = leader.latest_checkpoint().await?;
        let head = leader.head().await?;
        let size = stored.as_ref().map_or(0, |checkpoint| checkpoint.size);
        if let Some(copy) = copy.as_ref().filter(|copy| copy.size > size) {
            return Err(Refusal::CopyAhead { copy: copy.size, stored: size }.into());
        }
        if head < size {
            return Err(Refusal::Shortened { head, sealed: size }.into());
        }
        let tree = match &stored {
            Some(stored) => self.tree_of(leader, stored).await?,
            None => Frontier::empty(),
        };
        if let Some(copy) = &copy {
            let then = leader.frontier(copy.size).await.map_err(|error| tiles_refused(error, copy.size))?;
            if then.root() != copy.root {
                return Err(Refusal::CopyOfAnotherLog { size: copy.size }.into());
            }
        }
        let is_copied = copy.as_ref().map_or(0, |copy| copy.size) == size;
        Ok(Log { tree, size, uncopied: stored.filter(|_| !is_copied).map(|stored| stored.note) })
    }

    /// The tree under the newest stored checkpoint, which must be ours.
    async fn tree_of(&self, leader: &mut Leader, stored: &StoredCheckpoint) -> Result<Frontier, SealError> {
        let size = stored.size;
        let keys = std::slice::from_ref(self.key.public());
        let ours = SignedCheckpoint::open(&stored.note, keys).ok();
        let ours = ours.filter(|ours| ours.size == size && stored.root == ours.root.0);
        let ours = ours.ok_or(Refusal::ForeignCheckpoint { size })?;
        let tree = leader.frontier(size).await.map_err(|error| tiles_refused(error, size))?;
        if tree.root() == ours.root { Ok(tree) } else { Err(Refusal::Tiles { size }.into()) }
    }

    /// Adds what was committed, up to `head` or as much as fits.
    async fn seal_batch(&self, leader: &mut Leader, log: &mut Log, head: i64) -> Result<(), SealError> {
        let start = Instant::now();
        let upto = head.min(log.size + BATCH_EVENTS_MAX);
        let mut batch = Batch::after(&log.tree);
        let mut scan = log::scan(&self.pool, log.size, upto);
        while let Some(chunk) = scan.next().await? {
            for (position, leaf) in hash_events(chunk).await? {
                let expected = batch.size() + 1;
                if position != expected {
                    return Err(Refusal::Gap { position: expected }.into());
                }
                batch.push(leaf);
            }
        }
        if batch.size() != upto {
            return Err(Refusal::Gap { position: batch.size() + 1 }.into());
        }
        let checkpoint = self.key.sign(upto, batch.root()).map_err(SealError::Sign)?;
        leader.seal(&batch.rows(), &checkpoint).await?;
        metrics::counter!("wopay_audit_sealed_events_total").increment(u64::try_from(upto - log.size).unwrap_or(0));
        metrics::histogram!("wopay_audit_seal_seconds").record(start.elapsed());
        *log = Log { tree: batch.into_tree(), size: upto, uncopied: Some(checkpoint.note) };
        Ok(())
    }

    /// Brings the copy up to date.
    fn copy(&self, log: &mut Log) -> Result<(), crate::checkpoint::CopyError> {
        if let Some(note) = &log.uncopied {
            write_copy(&self.options.checkpoint_file, note)?;
            log.uncopied = None;
        }
        Ok(())
    }

    /// Says what happened, once, and how long to wait before the next try.
    fn report(&self, error: &SealError) -> Duration {
        let (state, pause) = match error {
            SealError::Standby => (SealState::Standby, STANDBY_PAUSE),
            SealError::Refused(refusal) => (SealState::Refused { reason: chain(refusal) }, REFUSED_PAUSE),
            SealError::Database(_) | SealError::Copy(_) | SealError::Sign(_) => {
                (SealState::Failing { reason: chain(error) }, STANDBY_PAUSE)
            }
        };
        if self.status.state() != state {
            let ledger = &self.options.ledger;
            match &state {
                SealState::Refused { reason } => {
                    metrics::counter!("wopay_audit_refusals_total").increment(1);
                    tracing::error!(ledger, reason, "the sealer refuses to sign; run `wopay audit verify`");
                }
                SealState::Failing { reason } => tracing::warn!(ledger, reason, "sealing failed; trying again"),
                SealState::Standby => tracing::info!(ledger, "another instance seals; this one stands by"),
                SealState::Starting | SealState::Sealing { .. } => {}
            }
            self.status.set(state);
        }
        pause
    }
}

fn tiles_refused(error: TileError, size: i64) -> SealError {
    match error {
        TileError::Database(error) => SealError::Database(error),
        TileError::Damaged => Refusal::Tiles { size }.into(),
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Until something is appended here, or it is time to look.
async fn wait(appended: &mut watch::Receiver<i64>) {
    tokio::select! {
        Ok(()) = appended.changed() => {}
        () = tokio::time::sleep(POLL) => {}
    }
}
