//! Signed tree heads (C2SP tlog-checkpoint), and the copy of the newest that lies on disk.
//!
//! The copy is what a database cannot be rolled back past: whoever restores an older backup has an older log than was
//! signed, and the copy shows it.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use signed_note::{Note, NoteError};
use tlog_tiles::{Checkpoint, Hash};

use crate::key::PublicKey;

/// Why a checkpoint is not believed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Not in the format.
    #[error("not a checkpoint")]
    Malformed,
    /// The signature is wrong, or of a key that is not ours to trust.
    #[error("not signed by a trusted key")]
    Signature(#[source] NoteError),
    /// A valid signature over the head of another log.
    #[error("a checkpoint of another log: {origin}")]
    Origin {
        /// Which.
        origin: String,
    },
}

/// A tree head whose signature was checked, or that was signed here.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedCheckpoint {
    /// The log.
    pub origin: String,
    /// How many events it covers: the position of the newest.
    pub size: i64,
    /// The root of the tree over them.
    pub root: Hash,
    /// The signed note, as text.
    pub note: String,
}

impl SignedCheckpoint {
    /// Reads a note that must be signed by one of these keys, for the log of that key.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub fn open(note: &str, keys: &[PublicKey]) -> Result<Self, CheckpointError> {
        let parsed = Note::from_bytes(note.as_bytes()).map_err(|_| CheckpointError::Malformed)?;
        let (verified, _) = parsed.verify(&PublicKey::list(keys)).map_err(CheckpointError::Signature)?;
        let head = Checkpoint::from_bytes(parsed.text()).map_err(|_| CheckpointError::Malformed)?;
        if !verified.iter().any(|signature| signature.name() == head.origin()) {
            return Err(CheckpointError::Origin { origin: head.origin().to_owned() });
        }
        Ok(Self {
            origin: head.origin().to_owned(),
            size: i64::try_from(head.size()).map_err(|_| CheckpointError::Malformed)?,
            root: *head.hash(),
            note: note.to_owned(),
        })
    }
}

/// Why the copy on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The file system.
    #[error("cannot use the checkpoint file {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("the checkpoint file {} is not to be believed", path.display())]
    Checkpoint {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: CheckpointError,
    },
}

/// The copy; `None` when there is no file.
///
/// # Errors
/// See [`CopyError`].
pub fn read_copy(path: &Path, keys: &[PublicKey]) -> Result<Option<SignedCheckpoint>, CopyError> {
    let note = match std::fs::read_to_string(path) {
        Ok(note) => note,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CopyError::Io { path: path.to_owned(), source }),
    };
    let opened = SignedCheckpoint::open(&note, keys);
    opened.map(Some).map_err(|source| CopyError::Checkpoint { path: path.to_owned(), source })
}

/// Replaces the copy: a reader, and whoever starts after a crash, finds the old one or the new one whole.
///
/// # Errors
/// The file system.
pub(crate) fn write_copy(path: &Path, note: &str) -> Result<(), CopyError> {
    let write = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(note.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(|source| CopyError::Io { path: path.to_owned(), source })
}
