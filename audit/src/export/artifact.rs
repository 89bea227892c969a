//! A file of an export as it is made: its bytes counted and hashed on the way. The check makes the same files again, without
//! a place on disk, and compares the hashes.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::manifest::FileEntry;

/// A file that is appended to.
#[derive(Debug)]
pub(super) struct Artifact {
    /// Its path in the export, with `/`.
    name: String,
    /// Where it lies on disk; `None`: only hashed.
    path: Option<PathBuf>,
    hasher: Sha256,
    bytes: u64,
    rows: u64,
    buffer: Vec<u8>,
}

impl Artifact {
    /// A new file, empty. Its folder exists.
    pub(super) fn create(name: String, folder: Option<&PathBuf>) -> io::Result<Self> {
        let path = folder.map(|folder| folder.join(&name));
        if let Some(path) = &path {
            // Nothing is written over.
            OpenOptions::new().write(true).create_new(true).open(path)?;
        }
        Ok(Self { name, path, hasher: Sha256::new(), bytes: 0, rows: 0, buffer: Vec::new() })
    }

    /// Adds one row, with its line break.
    pub(super) fn push(&mut self, row: &[u8]) {
        self.buffer.extend_from_slice(row);
        self.rows = self.rows.saturating_add(1);
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.hasher.update(&self.buffer);
        self.bytes = self.bytes.saturating_add(u64::try_from(self.buffer.len()).unwrap_or(u64::MAX));
        if let Some(path) = self.path.as_ref().filter(|_| !self.buffer.is_empty()) {
            OpenOptions::new().append(true).open(path)?.write_all(&self.buffer)?;
        }
        self.buffer.clear();
        Ok(())
    }

    /// Writes the rest; the file's entry in the manifest.
    pub(super) fn finish(mut self) -> io::Result<FileEntry> {
        self.flush()?;
        let sha256 = hex::encode(self.hasher.finalize());
        Ok(FileEntry { path: self.name, sha256, bytes: self.bytes, rows: Some(self.rows) })
    }
}
