//! Recomputes everything from the events, and names the first that is not what was sealed.
//!
//! What is believed: the public key, and checkpoints signed by it, in the table, in the copy on disk and in the hands of
//! whoever asks. Everything else is checked against them: each event against its stored leaf, leaves and higher tiles
//! against the signed heads, positions and sequences against themselves. Memory does not grow with the ledger.
//!
//! What no log can show: events that were put at the end by somebody who may write to the database, before they were
//! sealed; and what happened before the first checkpoint that anybody has kept a copy of, if the key was stolen too.

mod block;
mod pass;
mod report;
mod suspect;

use std::path::PathBuf;

use sqlx::PgPool;
use tlog_tiles::Hash;
use wopay_eventbus::log::Chunk;

pub use report::{Finding, Problem, VerifyReport};

use crate::checkpoint::{CheckpointError, SignedCheckpoint, read_copy};
use crate::key::PublicKey;
use crate::leaf;
use crate::seal::BATCH_EVENTS_MAX;
use crate::store::{self, Standing};
use crate::tiles::{self, TileError};
use crate::tree::Frontier;
use block::{Block, Head, Leaves, compare_level, load};
use pass::Pass;

const STREAMS_LISTED_MAX: i64 = 20;
const CHECKPOINTS_AT_A_TIME: i64 = 100;

/// What to verify, and against what.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Keys whose signatures are believed.
    pub keys: Vec<PublicKey>,
    /// The copy of the newest checkpoint, if it is to be consulted.
    pub checkpoint_file: Option<PathBuf>,
    /// Checkpoints (signed notes) that were kept elsewhere: each must be a head of this log.
    pub kept: Vec<String>,
    /// A checkpoint up to which everything was verified before: only what came after it is read.
    pub since: Option<String>,
}

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyProgress {
    /// The last position read.
    pub position: i64,
    /// Where it began.
    pub from: i64,
    /// Where it will end.
    pub target: i64,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// A checkpoint that the caller has brought.
    #[error("a checkpoint that was given is not to be believed")]
    Kept(#[source] CheckpointError),
    /// The stored hashes do not lead to the checkpoint to begin with: verify all, from the beginning.
    #[error("the stored hashes do not lead to the checkpoint of size {size} to begin with; verify everything")]
    Since {
        /// Its size.
        size: i64,
    },
}

/// Verifies the ledger that `pool`'s `search_path` leads to. Others may append and seal meanwhile.
///
/// # Errors
/// See [`VerifyError`]. What is wrong with the ledger is in the report.
pub async fn verify(
    pool: &PgPool,
    options: &VerifyOptions,
    mut progress: impl FnMut(VerifyProgress),
) -> Result<VerifyReport, VerifyError> {
    // The copy first: it is never newer than the database.
    let mut report = VerifyReport::default();
    let kept = kept_heads(options, &mut report)?;
    let standing = store::standing(pool).await?;
    let tree = match &options.since {
        Some(note) => since(pool, note, &options.keys).await?,
        None => Frontier::empty(),
    };
    report.from = i64::try_from(tree.size()).unwrap_or(i64::MAX);
    report.newest = standing.newest;
    report.verified = report.from;
    let from = report.from;
    let known = kept.iter().map(|head| head.size).max().unwrap_or(0);
    look_around(&standing, standing.sealed.max(standing.leaves).max(known), &mut report);
    let signed = newest_signed(pool, &options.keys).await?;
    let sealed = plausible(&standing, known, signed.size);
    let end = walkable(pool, &standing, sealed.max(known), &mut report).await?;
    // Those up to the end are met on the way.
    signed.refused.into_iter().filter(|finding| finding.position > Some(end)).for_each(|finding| report.add(finding));

    let mut pass = Pass::after(tree, sealed, report);
    let mut loading = load(pool, &options.keys, from, end);
    while let Some(current) = loading {
        loading = load(pool, &options.keys, current.upto(), end);
        let mut block = current.finish().await?;
        merge_heads(&mut block, &kept);
        verify_block(pool, &mut pass, block, |position| progress(VerifyProgress { position, from, target: end }))
            .await?;
    }
    let mut report = pass.finish();
    if options.since.is_none() {
        for stream in store::broken_streams(pool, STREAMS_LISTED_MAX).await? {
            let store::BrokenStream { aggregate_type, aggregate_id, sequence, position } = stream;
            report.add(Finding::at(position, Problem::Stream { aggregate_type, aggregate_id, sequence }));
        }
    }
    report.sort();
    Ok(report)
}

/// The heads that were kept outside the database.
fn kept_heads(options: &VerifyOptions, report: &mut VerifyReport) -> Result<Vec<Head>, VerifyError> {
    let mut kept = Vec::new();
    for note in options.kept.iter().chain(&options.since) {
        kept.push(SignedCheckpoint::open(note, &options.keys).map_err(VerifyError::Kept)?);
    }
    if let Some(path) = &options.checkpoint_file {
        match read_copy(path, &options.keys) {
            Ok(copy) => kept.extend(copy),
            Err(error) => {
                let cause = std::error::Error::source(&error).map_or(String::new(), |cause| format!(": {cause}"));
                report.add(Finding::nowhere(Problem::Copy { reason: format!("{error}{cause}") }));
            }
        }
    }
    let mut heads: Vec<_> =
        kept.into_iter().map(|kept| Head { size: kept.size, root: kept.root, note: kept.note }).collect();
    heads.sort_by_key(|head| head.size);
    Ok(heads)
}

async fn since(pool: &PgPool, note: &str, keys: &[PublicKey]) -> Result<Frontier, VerifyError> {
    let head = SignedCheckpoint::open(note, keys).map_err(VerifyError::Kept)?;
    let tree = tiles::frontier(pool, head.size).await.map_err(|error| match error {
        TileError::Database(error) => VerifyError::Database(error),
        TileError::Damaged => VerifyError::Since { size: head.size },
    })?;
    if tree.root() == head.root { Ok(tree) } else { Err(VerifyError::Since { size: head.size }) }
}

/// The newest stored checkpoint whose signature is right.
struct NewestSigned {
    /// 0: there is none.
    size: i64,
    /// What is wrong with those above it.
    refused: Vec<Finding>,
}

async fn newest_signed(pool: &PgPool, keys: &[PublicKey]) -> Result<NewestSigned, sqlx::Error> {
    let mut refused = Vec::new();
    let mut below = i64::MAX;
    loop {
        let page = store::checkpoints_below(pool, below, CHECKPOINTS_AT_A_TIME).await?;
        let Some(last) = page.last() else { return Ok(NewestSigned { size: 0, refused }) };
        below = last.size;
        for stored in &page {
            if let Some(head) = block::read_head(stored, keys, &mut refused) {
                return Ok(NewestSigned { size: head.size, refused });
            }
        }
        refused.truncate(report::FINDINGS_MAX);
    }
}

/// How many events the stored hashes and checkpoints cover. What says more than a batch beyond all that is signed or
/// recorded was put there: it is named, and not walked to, which could take for ever.
fn plausible(standing: &Standing, known: i64, signed: i64) -> i64 {
    let most = standing.newest.max(known).max(signed).saturating_add(BATCH_EVENTS_MAX);
    let claims = [standing.sealed, standing.leaves].into_iter().filter(|claim| *claim <= most);
    claims.max().unwrap_or(0).max(signed)
}

/// Where the walk ends: at the newest event, unless it stands where so few events cannot have come. Then it is named, and
/// not walked to.
async fn walkable(
    pool: &PgPool,
    standing: &Standing,
    sealed: i64,
    report: &mut VerifyReport,
) -> Result<i64, sqlx::Error> {
    if standing.newest <= sealed.saturating_add(BATCH_EVENTS_MAX) {
        return Ok(standing.newest.max(sealed));
    }
    let most = sealed.saturating_add(store::events_after(pool, sealed).await?).saturating_add(BATCH_EVENTS_MAX);
    if standing.newest > most {
        report.add(Finding::at(standing.newest, Problem::Inserted));
    }
    Ok(standing.newest.min(most))
}

/// What shows without reading the events.
fn look_around(standing: &Standing, sealed: i64, report: &mut VerifyReport) {
    let Standing { head, oldest, newest, sealed: stored, .. } = *standing;
    if oldest < 1 {
        report.add(Finding::from_to(oldest, newest.min(0), Problem::Inserted));
    }
    if newest > head {
        report.add(Finding::from_to(head + 1, newest, Problem::Inserted));
    }
    if newest != head {
        report.add(Finding::at(newest.min(head) + 1, Problem::Head { head, newest }));
    }
    if sealed > stored {
        report.add(Finding::from_to(stored + 1, sealed, Problem::CheckpointGone { size: sealed }));
    }
}

/// Puts the heads that were kept elsewhere among those of the block.
fn merge_heads(block: &mut Block, kept: &[Head]) {
    for head in kept.iter().filter(|head| head.size > block.after && head.size <= block.upto) {
        match block.heads.iter_mut().find(|stored| stored.size == head.size) {
            Some(stored) if stored.root != head.root => {
                block.findings.push(Finding::at(head.size, Problem::SplitView { size: head.size }));
                *stored = head.clone();
            }
            Some(_) => {}
            None => block.heads.push(head.clone()),
        }
    }
    block.heads.sort_by_key(|head| head.size);
}

async fn verify_block(
    pool: &PgPool,
    pass: &mut Pass,
    block: Block,
    mut progress: impl FnMut(i64),
) -> Result<(), VerifyError> {
    let Block { after, upto, mut scan, leaves, heads, findings } = block;
    findings.into_iter().for_each(|finding| pass.report.add(finding));
    let mut walk = Walk { pass, leaves: &leaves, heads: heads.iter().peekable(), next: after + 1 };
    while let Some(chunk) = scan.next().await? {
        let (chunk, hashes) = hash(chunk).await?;
        for (event, leaf) in chunk.iter().zip(hashes) {
            walk.miss_before(event.position);
            walk.pass.event(&event, leaf, walk.leaves);
            walk.step();
        }
        progress(walk.next - 1);
    }
    walk.miss_before(upto + 1);
    progress(upto);
    compare_tiles(pool, pass).await
}

/// Walks the positions of a block, and meets its heads.
struct Walk<'a> {
    pass: &'a mut Pass,
    leaves: &'a Leaves,
    heads: std::iter::Peekable<std::slice::Iter<'a, Head>>,
    next: i64,
}

impl Walk<'_> {
    fn miss_before(&mut self, position: i64) {
        while self.next < position {
            self.pass.missing(self.next, self.leaves);
            self.step();
        }
    }

    fn step(&mut self) {
        while let Some(head) = self.heads.next_if(|head| head.size <= self.next) {
            self.pass.head(head);
        }
        self.next += 1;
    }
}

/// Leaves are computed beside the reading.
async fn hash(chunk: Chunk) -> Result<(Chunk, Vec<Hash>), sqlx::Error> {
    let hashed = tokio::task::spawn_blocking(move || {
        let mut buffer = Vec::new();
        let hashes = chunk.iter().map(|event| leaf::hash_in(&mut buffer, &event)).collect();
        (chunk, hashes)
    });
    hashed.await.map_err(|_| sqlx::Error::WorkerCrashed)
}

/// Compares what was computed above the leaves with what is stored.
async fn compare_tiles(pool: &PgPool, pass: &mut Pass) -> Result<(), VerifyError> {
    let completed = pass.take_completed();
    let levels = completed.iter().map(|hash| hash.level).max().unwrap_or(0);
    for level in 1..=levels {
        let of_level = completed.iter().filter(|hash| hash.level == level);
        let hashes: Vec<_> = of_level.map(|hash| (i64::try_from(hash.index).unwrap_or(i64::MAX), hash.hash)).collect();
        let findings = compare_level(pool, i16::from(level), &hashes).await?;
        pass.differing_tiles(findings);
    }
    Ok(())
}
