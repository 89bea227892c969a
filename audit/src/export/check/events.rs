//! The events of an export: their places, their hashes, and the books that follow from them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use tlog_tiles::{Hash, record_hash};
use wopay_domain::{Asset, AssetId, RecordedEvent};

use super::super::books::{BookFiles, Place};
use super::super::manifest::{FileEntry, Manifest};
use super::super::{EVENTS, STATEMENTS, range};
use super::report::{CheckError, Problem};
use crate::replay::{Progress, TrialBalance, learn};

/// No event is longer.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How often progress is told, in events.
const PROGRESS_EVENTS: i64 = 4_096;

pub(super) fn check_openings(manifest: &Manifest, problems: &mut Vec<Problem>) {
    let mut known = BTreeSet::new();
    for opening in &manifest.openings {
        if manifest.from_position == 1 || !known.insert((&opening.account, &opening.asset)) {
            problems.push(Problem::Opening { account: opening.account.clone() });
        }
    }
}

/// Goes through the events once: their places, their hashes, and the books that follow. The root they lead to.
pub(super) fn check_events(
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
pub(super) fn check_books(
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
    assets: BTreeMap<AssetId, Asset>,
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
