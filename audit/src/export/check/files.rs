//! The files of an export: whether they are those of its manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::super::manifest::{FORMAT, FileEntry, Manifest};
use super::super::{CHECKPOINT, EVENTS, FIRST, JOURNAL, LAST, MANIFEST, PUBLIC_KEY};
use super::report::{CheckError, Problem};

const MANIFEST_BYTES_MAX: u64 = 1024 * 1024 * 1024;

pub(super) fn read_manifest(folder: &Path) -> Result<(Manifest, String), CheckError> {
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
pub(super) fn check_files<'a>(
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
pub(super) fn files_in(folder: &Path) -> Result<BTreeSet<String>, CheckError> {
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

pub(super) fn names_in(folder: &Path) -> Result<Vec<(String, bool)>, CheckError> {
    let io = |source| CheckError::Io { path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(io)?;
    let name = |entry: io::Result<std::fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.file_type()?.is_dir()))
    };
    entries.map(name).collect::<io::Result<_>>().map_err(io)
}

pub(super) fn hash_of(path: &Path) -> Result<(String, u64), CheckError> {
    let io = |source| CheckError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let mut hasher = Sha256::new();
    let bytes = io::copy(&mut file, &mut hasher).map_err(io)?;
    Ok((hex::encode(hasher.finalize()), bytes))
}

pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, CheckError> {
    let io = |source| CheckError::Io { path: path.to_owned(), source };
    let mut text = Vec::new();
    File::open(path).map_err(io)?.take(bytes_max).read_to_end(&mut text).map_err(io)?;
    Ok(text)
}

pub(super) fn read_text_if_there(path: &Path) -> Result<Option<String>, CheckError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CheckError::Io { path: path.to_owned(), source }),
    }
}
