//! Checking an export with nothing but its folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tlog_tiles::{Hash, record_hash};
use wopay_domain::RecordedEvent;
use wopay_domain::ledger::Account;

use super::books::{BookFiles, BooksError, Place};
use super::manifest::{FORMAT, FileEntry, Manifest};
use super::write::learn;
use super::{CHECKPOINT, CONSISTENCY, EVENTS, FIRST, JOURNAL, LAST, MANIFEST, PUBLIC_KEY, STATEMENTS, range};
use crate::checkpoint::SignedCheckpoint;
use crate::key::PublicKey;
use crate::proof::{check_consistency, check_proof};
use crate::replay::{Progress, TrialBalance};

/// No event is longer.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const MANIFEST_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// How often progress is told, in events.
const PROGRESS_EVENTS: i64 = 4_096;

/// What is trusted besides the folder.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// The log's public key, from somewhere else than the export.
    pub key: Option<PublicKey>,
    /// An older checkpoint that the auditor keeps.
    pub trusted: Option<String>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// The log.
    pub origin: String,
    /// The first position.
    pub from_position: i64,
    /// The last position.
    pub to_position: i64,
    /// How many events the checkpoint covers.
    pub checkpoint_size: i64,
    /// The key that signed it.
    pub public_key: String,
    /// Whether that key came from somewhere else than the export.
    pub key_was_given: bool,
    /// Whether the log was shown to hold all of a checkpoint that the auditor keeps.
    pub holds_trusted_checkpoint: bool,
    /// Whether opening balances follow from the export itself: it begins at position 1.
    pub openings_are_proven: bool,
    /// Files that were checked.
    pub files: usize,
    /// SHA-256 of the manifest, hex.
    pub manifest_sha256: String,
    /// What is wrong; empty when all is well.
    pub problems: Vec<Problem>,
}

/// Something that is wrong with an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum Problem {
    /// A file that the manifest names is not there.
    #[error("{path} is missing")]
    Missing {
        /// Which.
        path: String,
    },
    /// A file that the manifest does not name.
    #[error("{path} is not in the manifest")]
    Unlisted {
        /// Which.
        path: String,
    },
    /// A file has other bytes than the manifest says.
    #[error("{path} was changed")]
    Changed {
        /// Which.
        path: String,
    },
    /// A file does not follow from the events.
    #[error("{path} does not follow from the events")]
    DoesNotFollow {
        /// Which.
        path: String,
    },
    /// The checkpoint is not signed by the key, or is not the manifest's.
    #[error("the checkpoint is not to be believed: {reason}")]
    Checkpoint {
        /// Why.
        reason: String,
    },
    /// The key in the export is not the one that was given.
    #[error("the export's key is {found}, not the one that was given")]
    OtherKey {
        /// What it is.
        found: String,
    },
    /// An event is missing, doubled or out of place.
    #[error("line {line} of events.jsonl is not the event at position {expected}")]
    OutOfPlace {
        /// The line, from 1.
        line: i64,
        /// The position that belongs there.
        expected: i64,
    },
    /// There are more or fewer events than the manifest says.
    #[error("events.jsonl ends at position {last}, the period at {expected}")]
    Length {
        /// The last position found.
        last: i64,
        /// The last one of the period.
        expected: i64,
    },
    /// A line that is no event, or one that cannot be read.
    #[error("line {line} of events.jsonl cannot be read: {reason}")]
    Unreadable {
        /// The line, from 1.
        line: i64,
        /// Why.
        reason: String,
    },
    /// The events do not lead to the signed root.
    #[error("the events of the period are not those that were sealed")]
    Root,
    /// A proof does not hold.
    #[error("{path} proves nothing: {reason}")]
    Proof {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// Debits and credits differ.
    #[error("debits and credits of {asset} ({layer}) differ")]
    Unbalanced {
        /// The asset.
        asset: String,
        /// The layer.
        layer: String,
    },
    /// A period from position 1 opens with balances, or an account is opened twice.
    #[error("the opening balance of {account} cannot be: nothing precedes the period")]
    Opening {
        /// The account.
        account: Account,
    },
    /// An asset has other decimals or another symbol in the manifest than in the events.
    #[error("the manifest's {asset} is not that of the events")]
    Asset {
        /// The asset.
        asset: String,
    },
}

/// Why an export cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The manifest is none.
    #[error("{} is no manifest of an export", path.display())]
    Manifest {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A format of another program.
    #[error("the export has format {0:?}; this program reads {FORMAT:?}")]
    Format(String),
    /// The manifest's numbers contradict themselves.
    #[error("the manifest's period and checkpoint contradict each other")]
    Period,
    /// Journal or statements cannot be made again.
    #[error("journal and statements cannot be made again: {0}")]
    Books(String),
}

impl From<BooksError> for CheckError {
    fn from(error: BooksError) -> Self {
        Self::Books(error.to_string())
    }
}

/// Checks an export.
///
/// # Errors
/// When it cannot be checked at all. What is wrong with it is in the report.
pub fn check(folder: &Path, options: &CheckOptions, progress: &impl Fn(Progress)) -> Result<CheckReport, CheckError> {
    let (manifest, manifest_sha256) = read_manifest(folder)?;
    let mut problems = Vec::new();
    let listed = check_files(folder, &manifest, &mut problems)?;
    let keys = key(folder, options, &mut problems)?;
    let checkpoint = check_checkpoint(folder, &manifest, keys.as_ref(), &mut problems)?;
    check_openings(&manifest, &mut problems);
    let root = check_events(folder, &manifest, &listed, &mut problems, progress)?;
    if let (Some(root), Some(checkpoint)) = (root, &checkpoint)
        && root != checkpoint.root
    {
        problems.push(Problem::Root);
    }
    let mut holds_trusted_checkpoint = false;
    if let (Some(key), Some(checkpoint)) = (&keys, &checkpoint) {
        check_proofs(folder, &manifest, key, checkpoint, &mut problems)?;
        if let Some(trusted) = &options.trusted {
            holds_trusted_checkpoint = check_trusted(folder, trusted, key, checkpoint, &mut problems)?;
        }
    }
    Ok(CheckReport {
        origin: manifest.origin.clone(),
        from_position: manifest.from_position,
        to_position: manifest.to_position,
        checkpoint_size: manifest.checkpoint_size,
        public_key: keys.map_or_else(String::new, |key| key.to_string()),
        key_was_given: options.key.is_some(),
        holds_trusted_checkpoint,
        openings_are_proven: manifest.from_position == 1,
        files: listed.len(),
        manifest_sha256,
        problems,
    })
}

fn read_manifest(folder: &Path) -> Result<(Manifest, String), CheckError> {
    let path = folder.join(MANIFEST);
    let text = read(&path, MANIFEST_BYTES_MAX)?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|source| CheckError::Manifest { path, source })?;
    if manifest.format != FORMAT {
        return Err(CheckError::Format(manifest.format));
    }
    let in_order = 1 <= manifest.from_position
        && manifest.from_position <= manifest.to_position
        && manifest.to_position <= manifest.checkpoint_size;
    if in_order { Ok((manifest, hex::encode(Sha256::digest(text)))) } else { Err(CheckError::Period) }
}

/// Whether the files are those of the manifest; by path.
fn check_files<'a>(
    folder: &Path,
    manifest: &'a Manifest,
    problems: &mut Vec<Problem>,
) -> Result<BTreeMap<&'a str, &'a FileEntry>, CheckError> {
    let listed: BTreeMap<_, _> = manifest.files.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    let found = files_in(folder)?;
    for path in found.iter().filter(|path| *path != MANIFEST && !listed.contains_key(path.as_str())) {
        problems.push(Problem::Unlisted { path: path.clone() });
    }
    let needed = [EVENTS, JOURNAL, CHECKPOINT, PUBLIC_KEY, FIRST, LAST];
    for path in listed.keys().copied().chain(needed.into_iter().filter(|path| !listed.contains_key(path))) {
        if !found.contains(path) {
            problems.push(Problem::Missing { path: path.to_owned() });
        }
    }
    for entry in listed.values().filter(|entry| found.contains(&entry.path)) {
        if hash_of(&folder.join(&entry.path))? != (entry.sha256.clone(), entry.bytes) {
            problems.push(Problem::Changed { path: entry.path.clone() });
        }
    }
    Ok(listed)
}

/// Every file, two levels deep, with `/`.
fn files_in(folder: &Path) -> Result<BTreeSet<String>, CheckError> {
    let mut files = BTreeSet::new();
    for (name, is_folder) in names_in(folder)? {
        if is_folder {
            let below = names_in(&folder.join(&name))?;
            files.extend(below.into_iter().map(|(below, _)| format!("{name}/{below}")));
        } else {
            files.insert(name);
        }
    }
    Ok(files)
}

fn names_in(folder: &Path) -> Result<Vec<(String, bool)>, CheckError> {
    let io = |source| CheckError::Io { path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(io)?;
    let name = |entry: io::Result<std::fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.file_type()?.is_dir()))
    };
    entries.map(name).collect::<io::Result<_>>().map_err(io)
}

fn hash_of(path: &Path) -> Result<(String, u64), CheckError> {
    let io = |source| CheckError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let mut hasher = Sha256::new();
    let bytes = io::copy(&mut file, &mut hasher).map_err(io)?;
    Ok((hex::encode(hasher.finalize()), bytes))
}

fn key(folder: &Path, options: &CheckOptions, problems: &mut Vec<Problem>) -> Result<Option<PublicKey>, CheckError> {
    let Some(text) = read_text_if_there(&folder.join(PUBLIC_KEY))? else { return Ok(options.key.clone()) };
    if let Some(key) = &options.key {
        if text.trim() != key.to_string() {
            problems.push(Problem::OtherKey { found: text.trim().to_owned() });
        }
        return Ok(Some(key.clone()));
    }
    match text.parse() {
        Ok(key) => Ok(Some(key)),
        Err(error) => {
            let reason = format!("{PUBLIC_KEY}: {error}");
            problems.push(Problem::Checkpoint { reason });
            Ok(None)
        }
    }
}

fn check_checkpoint(
    folder: &Path,
    manifest: &Manifest,
    key: Option<&PublicKey>,
    problems: &mut Vec<Problem>,
) -> Result<Option<SignedCheckpoint>, CheckError> {
    let (Some(note), Some(key)) = (read_text_if_there(&folder.join(CHECKPOINT))?, key) else { return Ok(None) };
    let checkpoint = match SignedCheckpoint::open(&note, std::slice::from_ref(key)) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            problems.push(Problem::Checkpoint { reason: error.to_string() });
            return Ok(None);
        }
    };
    let is_manifests = checkpoint.size == manifest.checkpoint_size
        && checkpoint.root.to_string() == manifest.checkpoint_root
        && checkpoint.origin == manifest.origin;
    if !is_manifests {
        problems.push(Problem::Checkpoint { reason: "it is not the one that the manifest names".to_owned() });
    }
    Ok(is_manifests.then_some(checkpoint))
}

fn check_openings(manifest: &Manifest, problems: &mut Vec<Problem>) {
    let mut known = BTreeSet::new();
    for opening in &manifest.openings {
        if manifest.from_position == 1 || !known.insert((&opening.account, &opening.asset)) {
            problems.push(Problem::Opening { account: opening.account.clone() });
        }
    }
}

/// Goes through the events once: their places, their hashes, and the books that follow. The root they lead to.
fn check_events(
    folder: &Path,
    manifest: &Manifest,
    listed: &BTreeMap<&str, &FileEntry>,
    problems: &mut Vec<Problem>,
    progress: &impl Fn(Progress),
) -> Result<Option<Hash>, CheckError> {
    let path = folder.join(EVENTS);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CheckError::Io { path, source }),
    };
    let period = (manifest.from_position, manifest.to_position);
    let mut events = Events {
        path,
        lines: BufReader::with_capacity(1 << 20, file),
        line: Vec::new(),
        position: period.0.saturating_sub(1),
        period,
        beside: manifest.range_proof.iter(),
        books: BookFiles::create(None, period, &manifest.openings, manifest.assets.iter().cloned())?,
        assets: BTreeMap::new(),
        progress,
    };
    let unsigned = |number: i64| u64::try_from(number).map_err(|_| CheckError::Period);
    let leaves = unsigned(period.0.saturating_sub(1))?..unsigned(period.1)?;
    let root = match range::root(&leaves, unsigned(manifest.checkpoint_size)?, &mut events) {
        Ok(root) => root,
        Err(Stop::Problem(problem)) => {
            problems.push(problem);
            return Ok(None);
        }
        Err(Stop::Error(error)) => return Err(error),
    };
    if events.beside.next().is_some() {
        problems.push(Problem::Root);
    }
    if events.next_line()? {
        problems.push(Problem::Length { last: events.position.saturating_add(1), expected: period.1 });
    }
    let Events { books, assets, .. } = events;
    for (id, asset) in &assets {
        if manifest.assets.iter().find(|named| &named.id == id) != Some(asset) {
            problems.push(Problem::Asset { asset: id.to_string() });
        }
    }
    check_books(books, listed, problems)?;
    Ok(Some(root))
}

/// Journal and statements must be those that follow from the events, and no others.
fn check_books(
    books: BookFiles,
    listed: &BTreeMap<&str, &FileEntry>,
    problems: &mut Vec<Problem>,
) -> Result<(), CheckError> {
    let (entries, trial_balance) = books.finish()?;
    let mut expected: BTreeSet<String> = BTreeSet::new();
    for entry in entries {
        if listed.get(entry.path.as_str()) != Some(&&entry) {
            problems.push(Problem::DoesNotFollow { path: entry.path.clone() });
        }
        expected.insert(entry.path);
    }
    let is_statement = |path: &&&str| path.starts_with(STATEMENTS);
    for path in listed.keys().filter(is_statement).filter(|path| !expected.contains(**path)) {
        problems.push(Problem::DoesNotFollow { path: (*path).to_owned() });
    }
    for TrialBalance { asset, layer, .. } in trial_balance.iter().filter(|line| !line.is_balanced()) {
        problems.push(Problem::Unbalanced { asset: asset.to_string(), layer: (*layer).to_owned() });
    }
    Ok(())
}

/// The lines of `events.jsonl`, as leaves.
struct Events<'a, P> {
    path: PathBuf,
    lines: BufReader<File>,
    line: Vec<u8>,
    position: i64,
    period: (i64, i64),
    beside: std::slice::Iter<'a, String>,
    books: BookFiles,
    assets: BTreeMap<wopay_domain::AssetId, wopay_domain::Asset>,
    progress: &'a P,
}

enum Stop {
    Problem(Problem),
    Error(CheckError),
}

impl From<CheckError> for Stop {
    fn from(error: CheckError) -> Self {
        Self::Error(error)
    }
}

impl<P: Fn(Progress)> Events<'_, P> {
    /// Reads a line, without its line break. `false` at the end.
    fn next_line(&mut self) -> Result<bool, CheckError> {
        self.line.clear();
        let read = (&mut self.lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line);
        let read = read.map_err(|source| CheckError::Io { path: self.path.clone(), source })?;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        }
        Ok(read > 0)
    }

    fn line_number(&self) -> i64 {
        self.position.saturating_sub(self.period.0).saturating_add(1)
    }

    fn unreadable(&self, reason: String) -> Stop {
        Stop::Problem(Problem::Unreadable { line: self.line_number(), reason })
    }
}

impl<P: Fn(Progress)> range::Hashes for Events<'_, P> {
    type Error = Stop;

    fn leaf(&mut self) -> Result<Hash, Stop> {
        if !self.next_line()? {
            return Err(Stop::Problem(Problem::Length { last: self.position, expected: self.period.1 }));
        }
        self.position = self.position.saturating_add(1);
        let recorded: RecordedEvent =
            serde_json::from_slice(&self.line).map_err(|error| self.unreadable(error.to_string()))?;
        if recorded.position != self.position {
            return Err(Stop::Problem(Problem::OutOfPlace { line: self.line_number(), expected: self.position }));
        }
        let event = recorded.decode().map_err(|error| self.unreadable(error.to_string()))?;
        learn(&mut self.assets, &event);
        let place = Place {
            position: recorded.position,
            aggregate_type: &recorded.aggregate_type,
            aggregate_id: &recorded.aggregate_id,
            event_type: &recorded.event_type,
            recorded_at: recorded.recorded_at,
        };
        self.books.add(place, &event).map_err(CheckError::from)?;
        if self.position % PROGRESS_EVENTS == 0 {
            (self.progress)(Progress { position: self.position, target: self.period.1, pass: 3, passes: 3 });
        }
        Ok(record_hash(&self.line))
    }

    fn beside(&mut self) -> Result<Hash, Stop> {
        let hash = self.beside.next().and_then(|text| Hash::parse_hash(text).ok());
        hash.ok_or(Stop::Problem(Problem::Root))
    }
}

/// The inclusion proofs are there for other tools; they must hold all the same.
fn check_proofs(
    folder: &Path,
    manifest: &Manifest,
    key: &PublicKey,
    checkpoint: &SignedCheckpoint,
    problems: &mut Vec<Problem>,
) -> Result<(), CheckError> {
    for (path, position) in [(FIRST, manifest.from_position), (LAST, manifest.to_position)] {
        let Some(text) = read_text_if_there(&folder.join(path))? else { continue };
        let reason = match check_proof(&text, key) {
            Ok(proven) if proven.position == position && proven.checkpoint == *checkpoint => continue,
            Ok(_) => "it is about another event or checkpoint".to_owned(),
            Err(error) => error.to_string(),
        };
        problems.push(Problem::Proof { path: path.to_owned(), reason });
    }
    Ok(())
}

/// Whether the log holds all of a checkpoint that the auditor keeps.
fn check_trusted(
    folder: &Path,
    trusted: &str,
    key: &PublicKey,
    checkpoint: &SignedCheckpoint,
    problems: &mut Vec<Problem>,
) -> Result<bool, CheckError> {
    let keys = std::slice::from_ref(key);
    let old = match SignedCheckpoint::open(trusted, keys) {
        Ok(old) => old,
        Err(error) => {
            problems.push(Problem::Checkpoint { reason: format!("the trusted one: {error}") });
            return Ok(false);
        }
    };
    if old.size == checkpoint.size && old.root == checkpoint.root {
        return Ok(true);
    }
    let reason = match read_text_if_there(&folder.join(CONSISTENCY))? {
        None => "the export was made without it (`wopay audit export --trusted FILE`)".to_owned(),
        Some(text) => match check_consistency(&text, &old, keys) {
            Ok(new) if new == *checkpoint => return Ok(true),
            Ok(_) => "it is about another checkpoint".to_owned(),
            Err(error) => error.to_string(),
        },
    };
    problems.push(Problem::Proof { path: CONSISTENCY.to_owned(), reason });
    Ok(false)
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, CheckError> {
    let io = |source| CheckError::Io { path: path.to_owned(), source };
    let mut text = Vec::new();
    File::open(path).map_err(io)?.take(bytes_max).read_to_end(&mut text).map_err(io)?;
    Ok(text)
}

fn read_text_if_there(path: &Path) -> Result<Option<String>, CheckError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CheckError::Io { path: path.to_owned(), source }),
    }
}
