//! Making an export.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{SubsecRound as _, Utc};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tlog_tiles::{Hash, HashReader as _, stored_hash_index};
use wopay_domain::envelope::DecodeError;
use wopay_domain::ledger::postings;
use wopay_domain::money::MoneyError;
use wopay_domain::{Asset, AssetId};
use wopay_eventbus::log::{EventRef, scan};

use super::artifact::Artifact;
use super::books::{BookFiles, BooksError, Place};
use super::check::{CheckError, CheckOptions, Problem, check};
use super::manifest::{FORMAT, FileEntry, Manifest, Opening};
use super::{CHECKPOINT, CONSISTENCY, EVENTS, FIRST, LAST, MANIFEST, PROOFS, PUBLIC_KEY, STATEMENTS, range};
use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::error::AuditError;
use crate::key::PublicKey;
use crate::replay::{Books, Moment, MomentError, NAMING, Progress, first_at_or_after, learn, resolve};
use crate::store::StoredCheckpoint;
use crate::tiles::{self, TileError};
use crate::{leaf, query};

const EVENTS_WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What to export, and where to.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// From this moment on; from the beginning without it.
    pub from: Option<Moment>,
    /// Up to this moment, included; up to the newest checkpoint without it.
    pub to: Option<Moment>,
    /// A folder that does not exist yet, or is empty.
    pub out: PathBuf,
    /// An older checkpoint that the auditor keeps: the export proves that the log still holds all of it.
    pub trusted: Option<String>,
}

/// What was exported. It was checked: see [`check`].
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// Its manifest.
    pub manifest: Manifest,
    /// SHA-256 of the manifest's own bytes, hex: whoever keeps it can tell this export from any other.
    pub manifest_sha256: String,
}

/// Why there is no export. What was written until then is left where it is.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The database fails.
    #[error("the database fails")]
    Database(#[from] sqlx::Error),
    /// A file cannot be written.
    #[error("{} cannot be written", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder has something in it.
    #[error("{} is not empty: an export goes into a folder of its own", .0.display())]
    NotEmpty(PathBuf),
    /// No event in the period.
    #[error("no event was recorded from position {from} to {to}")]
    Empty {
        /// The first position.
        from: i64,
        /// The last position.
        to: i64,
    },
    /// The period is newer than the newest checkpoint.
    #[error("position {to} is not sealed yet: the newest checkpoint covers {size} events")]
    NotSealed {
        /// The last position.
        to: i64,
        /// What is sealed.
        size: i64,
    },
    /// A moment that there is not.
    #[error("no such moment")]
    Moment(#[from] MomentError),
    /// Proofs cannot be had.
    #[error("the audit log gives no proof")]
    Audit(#[from] AuditError),
    /// A checkpoint is not signed by this installation's key.
    #[error("a checkpoint is not to be believed")]
    Checkpoint(#[from] CheckpointError),
    /// An event cannot be read.
    #[error("an event cannot be read")]
    Decode(#[from] DecodeError),
    /// Sums beyond 128 bits.
    #[error("amounts cannot be added")]
    Money(#[from] MoneyError),
    /// A position is missing, or its text has a line break: the log was tampered with.
    #[error("the event at position {0} is missing or was altered; `wopay audit verify` tells more")]
    Tampered(i64),
    /// A file cannot be made.
    #[error("journal or statements cannot be made: {0}")]
    Books(String),
    /// What was written does not pass its own check.
    #[error("the export does not pass its check: {0}; `wopay audit verify` tells more")]
    Fails(Problem),
    /// It cannot be checked.
    #[error("the export cannot be checked")]
    Check(#[from] CheckError),
}

impl From<BooksError> for ExportError {
    fn from(error: BooksError) -> Self {
        Self::Books(error.to_string())
    }
}

/// Writes a period into a folder, and checks what was written.
///
/// # Errors
/// The period is empty or not sealed, the database or a file fails, or the log was tampered with.
pub async fn export(
    pool: &PgPool,
    key: &PublicKey,
    options: &ExportOptions,
    progress: impl Fn(Progress),
) -> Result<Exported, ExportError> {
    let checkpoint = query::latest_checkpoint(pool).await?.ok_or(AuditError::NothingSealed)?;
    let period = period(pool, options, checkpoint.size).await?;
    create_folders(&options.out)?;

    let (openings, mut assets) = before(pool, period.0, &progress).await?;
    let files = events_and_books(pool, options, period, &openings, &mut assets, &progress).await?;
    let proofs = proofs(pool, key, options, period, &checkpoint).await?;
    let root = SignedCheckpoint::open(&checkpoint.note, std::slice::from_ref(key))?.root;
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        made_by: format!("wopay {}", env!("CARGO_PKG_VERSION")),
        made_at: Utc::now().trunc_subsecs(6),
        origin: key.origin().to_owned(),
        from_position: period.0,
        to_position: period.1,
        checkpoint_size: checkpoint.size,
        checkpoint_root: root.to_string(),
        range_proof: range_proof(pool, period, checkpoint.size).await?,
        openings,
        assets: assets.into_values().collect(),
        files: files.into_iter().chain(proofs).collect(),
    };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| ExportError::Books(error.to_string()))?;
    let entry = write_text(&options.out, MANIFEST, &text)?;

    let checked = CheckOptions { key: Some(key.clone()), trusted: options.trusted.clone() };
    let report = check(&options.out, &checked, &progress)?;
    match report.problems.into_iter().next() {
        Some(problem) => Err(ExportError::Fails(problem)),
        None => Ok(Exported { manifest, manifest_sha256: entry.sha256 }),
    }
}

async fn period(pool: &PgPool, options: &ExportOptions, sealed: i64) -> Result<(i64, i64), ExportError> {
    let from = match options.from {
        Some(moment) => first_at_or_after(pool, moment).await?,
        None => 1,
    };
    let to = match options.to {
        Some(moment) => resolve(pool, Some(moment)).await?.position,
        None => sealed,
    };
    if to < from {
        return Err(ExportError::Empty { from, to });
    }
    if to > sealed {
        return Err(ExportError::NotSealed { to, size: sealed });
    }
    Ok((from, to))
}

fn create_folders(out: &Path) -> Result<(), ExportError> {
    let io = |source| ExportError::Io { path: out.to_owned(), source };
    std::fs::create_dir_all(out).map_err(io)?;
    if std::fs::read_dir(out).map_err(io)?.next().is_some() {
        return Err(ExportError::NotEmpty(out.to_owned()));
    }
    std::fs::create_dir(out.join(STATEMENTS)).map_err(io)?;
    std::fs::create_dir(out.join(PROOFS)).map_err(io)
}

/// What accounts held before the period, and the assets that were named until then.
async fn before(
    pool: &PgPool,
    from: i64,
    progress: &impl Fn(Progress),
) -> Result<(Vec<Opening>, BTreeMap<AssetId, Asset>), ExportError> {
    let (mut books, mut assets) = (Books::default(), BTreeMap::new());
    let last = from.saturating_sub(1);
    let mut events = scan(pool, 0, last);
    let mut position = 0_i64;
    while let Some(chunk) = events.next().await? {
        for event in chunk.iter() {
            position = next(position, &event)?;
            let event = event.decode()?;
            learn(&mut assets, &event);
            books.post(&postings(&event))?;
        }
        progress(Progress { position, target: last, pass: 1, passes: 3 });
    }
    let openings = books.lines().into_iter();
    let openings =
        openings.map(|(account, asset, sums)| Opening { account: account.clone(), asset: asset.clone(), sums: *sums });
    Ok((openings.collect(), assets))
}

async fn events_and_books(
    pool: &PgPool,
    options: &ExportOptions,
    (from, to): (i64, i64),
    openings: &[Opening],
    assets: &mut BTreeMap<AssetId, Asset>,
    progress: &impl Fn(Progress),
) -> Result<Vec<FileEntry>, ExportError> {
    learn_ahead(pool, (from, to), assets).await?;
    let io = |source| ExportError::Io { path: options.out.clone(), source };
    let mut lines = Artifact::create(EVENTS.to_owned(), Some(&options.out)).map_err(io)?;
    let mut books = BookFiles::create(Some(options.out.clone()), (from, to), openings, assets.values().cloned())?;
    let mut events = scan(pool, from.saturating_sub(1), to);
    let mut position = from.saturating_sub(1);
    let mut line = Vec::new();
    while let Some(chunk) = events.next().await? {
        for event in chunk.iter() {
            position = next(position, &event)?;
            line.clear();
            leaf::write_line(&mut line, &event);
            if line.contains(&b'\n') {
                return Err(ExportError::Tampered(position));
            }
            line.push(b'\n');
            lines.push(&line);
            books.add(place(&event), &event.decode()?)?;
        }
        if lines.waiting() > EVENTS_WAITING_BYTES_MAX {
            lines.flush().map_err(io)?;
        }
        progress(Progress { position, target: to, pass: 2, passes: 3 });
    }
    if position != to {
        return Err(ExportError::Tampered(position.saturating_add(1)));
    }
    let (entries, _) = books.finish()?;
    Ok(std::iter::once(lines.finish().map_err(io)?).chain(entries).collect())
}

/// The assets that are named for the first time in the period: their decimals are needed from its first row on.
async fn learn_ahead(
    pool: &PgPool,
    (from, to): (i64, i64),
    assets: &mut BTreeMap<AssetId, Asset>,
) -> Result<(), ExportError> {
    let mut events = scan(pool, from.saturating_sub(1), to);
    while let Some(chunk) = events.next().await? {
        for event in chunk.iter().filter(|event| NAMING.contains(&event.event_type)) {
            learn(assets, &event.decode()?);
        }
    }
    Ok(())
}

fn next(position: i64, event: &EventRef<'_>) -> Result<i64, ExportError> {
    let expected = position.saturating_add(1);
    if event.position == expected { Ok(expected) } else { Err(ExportError::Tampered(expected)) }
}

fn place<'a>(event: &EventRef<'a>) -> Place<'a> {
    Place {
        position: event.position,
        aggregate_type: event.aggregate_type,
        aggregate_id: event.aggregate_id,
        event_type: event.event_type,
        recorded_at: event.recorded_at(),
    }
}

/// Checkpoint, key and proofs, as files.
async fn proofs(
    pool: &PgPool,
    key: &PublicKey,
    options: &ExportOptions,
    (from, to): (i64, i64),
    checkpoint: &StoredCheckpoint,
) -> Result<Vec<FileEntry>, ExportError> {
    let size = checkpoint.size;
    let first = query::inclusion_proof(pool, from, Some(size)).await?.to_string();
    let last = query::inclusion_proof(pool, to, Some(size)).await?.to_string();
    let mut files =
        vec![(CHECKPOINT, checkpoint.note.clone()), (PUBLIC_KEY, format!("{key}\n")), (FIRST, first), (LAST, last)];
    if let Some(trusted) = &options.trusted {
        let old = SignedCheckpoint::open(trusted, std::slice::from_ref(key))?;
        files.push((CONSISTENCY, query::consistency_proof(pool, old.size, Some(size)).await?.to_string()));
    }
    files.iter().map(|(name, text)| write_text(&options.out, name, text.as_bytes())).collect()
}

/// The subtrees beside the period, from the tiles.
async fn range_proof(pool: &PgPool, (from, to): (i64, i64), size: i64) -> Result<Vec<String>, ExportError> {
    let damaged = || ExportError::Audit(AuditError::Damaged { size });
    let unsigned = |number: i64| u64::try_from(number).map_err(|_| damaged());
    let leaves = unsigned(from.saturating_sub(1))?..unsigned(to)?;
    let beside = range::beside(&leaves, unsigned(size)?);
    let indexes: Vec<u64> = beside.into_iter().map(|(level, index)| stored_hash_index(level, index)).collect();
    let hashes: Vec<Hash> =
        tiles::compute(pool, |reader| reader.read_hashes(&indexes)).await.map_err(|error| match error {
            TileError::Database(error) => ExportError::Database(error),
            TileError::Damaged => damaged(),
        })?;
    Ok(hashes.iter().map(ToString::to_string).collect())
}

fn write_text(out: &Path, name: &str, text: &[u8]) -> Result<FileEntry, ExportError> {
    let path = out.join(name);
    std::fs::write(&path, text).map_err(|source| ExportError::Io { path, source })?;
    Ok(FileEntry {
        path: name.to_owned(),
        sha256: hex::encode(Sha256::digest(text)),
        bytes: u64::try_from(text.len()).unwrap_or(u64::MAX),
        rows: None,
    })
}
