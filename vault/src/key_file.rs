//! The master key in a file that only its owner can reach.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::KeyFileError;
use crate::key::MasterKey;

const CONTENT_BYTES_MAX: usize = 1024;
const OWNER_ONLY: u32 = 0o600;
const GROUP_AND_OTHERS: u32 = 0o077;

/// Who may be able to reach a key file for it to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAccess {
    /// Only its owner: production.
    OwnerOnly,
    /// Anybody: development.
    Anyone,
}

impl MasterKey {
    /// Reads a key file: hex, base64, or 32 raw bytes.
    ///
    /// # Errors
    /// It cannot be read, is no regular file, others can reach it though `access` forbids it, or it holds no key.
    pub fn from_file(path: &Path, access: FileAccess) -> Result<Self, KeyFileError> {
        let reading = io_error("read", path);
        let file = File::open(path).map_err(&reading)?;
        // Asked of the open file: a path could be exchanged between the check and the reading.
        let metadata = file.metadata().map_err(&reading)?;
        if !metadata.is_file() {
            return Err(reading(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
        }
        let mode = metadata.permissions().mode() & 0o777;
        if access == FileAccess::OwnerOnly && mode & GROUP_AND_OTHERS != 0 {
            return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
        }
        // Read into one place: a growing vector would leave copies of the key behind.
        let mut content = Zeroizing::new([0; CONTENT_BYTES_MAX]);
        let length = read_up_to(file, content.as_mut_slice()).map_err(&reading)?;
        Self::from_content(&content[..length]).map_err(|source| KeyFileError::Content { path: path.to_owned(), source })
    }

    /// Generates a key and writes it to a new file of mode 600. The file appears whole or not at all.
    ///
    /// # Errors
    /// It cannot be written; `AlreadyExists` inside when there is a file already, which is left as it was.
    pub fn create_file(path: &Path) -> Result<Self, KeyFileError> {
        let key = Self::generate();
        let content = Zeroizing::new(format!("{}\n", *key.to_hex()));
        create_whole(path, content.as_bytes()).map_err(io_error("create", path))?;
        Ok(key)
    }

    /// Reads the key file, or creates it. Of several processes that start at once all get the same key.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file) and [`create_file`](Self::create_file).
    pub fn from_file_or_create(path: &Path, access: FileAccess) -> Result<Self, KeyFileError> {
        match Self::from_file(path, access) {
            Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        match Self::create_file(path) {
            Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                Self::from_file(path, access)
            }
            created => created,
        }
    }
}

/// Fills `buffer` from the file's beginning and returns how many bytes there were.
fn read_up_to(mut file: File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> KeyFileError {
    let path: PathBuf = path.to_owned();
    move |source| KeyFileError::Io { action, path: path.clone(), source }
}

/// Writes a file beside the final name and links it there: a link, unlike a rename, never replaces what exists.
fn create_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut draft_name = std::ffi::OsString::from(".");
    draft_name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    draft_name.push(format!(".{:016x}", rand::random::<u64>()));
    let draft = folder.join(draft_name);
    let written = write_synced(&draft, content).and_then(|()| std::fs::hard_link(&draft, path));
    let removed = std::fs::remove_file(&draft);
    written?;
    removed?;
    File::open(folder)?.sync_all()
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn a_created_file_is_private_and_holds_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let created = MasterKey::create_file(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(MasterKey::from_file(&path, FileAccess::OwnerOnly).unwrap().id(), created.id());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft stays behind");
    }

    #[test]
    fn an_existing_file_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let first = MasterKey::create_file(&path).unwrap();
        let error = MasterKey::create_file(&path).unwrap_err();
        assert!(matches!(&error, KeyFileError::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists));
        let again = MasterKey::from_file_or_create(&path, FileAccess::OwnerOnly).unwrap();
        assert_eq!(again.id(), first.id());
    }

    #[test]
    fn processes_that_start_at_once_get_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let ids: Vec<_> = std::thread::scope(|scope| {
            let start = || MasterKey::from_file_or_create(&path, FileAccess::OwnerOnly).unwrap().id();
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]));
    }

    #[test]
    fn production_refuses_what_others_can_reach() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        MasterKey::create_file(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o666] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = MasterKey::from_file(&path, FileAccess::OwnerOnly).unwrap_err();
            assert!(matches!(error, KeyFileError::Exposed { mode: found, .. } if found == mode));
            MasterKey::from_file(&path, FileAccess::Anyone).unwrap();
        }
    }

    #[test]
    fn what_holds_no_key_is_refused_without_being_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        for content in ["", "password", &"ab".repeat(5000)] {
            fs::write(&path, content).unwrap();
            let error = MasterKey::from_file(&path, FileAccess::Anyone).unwrap_err();
            assert!(matches!(error, KeyFileError::Content { .. }), "{error:?}");
            assert!(!format!("{error:?}").contains("password"));
        }
        let error = MasterKey::from_file(dir.path(), FileAccess::Anyone).unwrap_err();
        assert!(matches!(error, KeyFileError::Io { .. }), "a folder: {error:?}");
        let missing = MasterKey::from_file(&dir.path().join("none"), FileAccess::Anyone).unwrap_err();
        assert!(missing.to_string().contains("none"), "{missing}");
    }
}
