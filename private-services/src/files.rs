//! Small files: logs and their ends, passwords.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::ServiceError;

const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
const TAIL_BYTES_MAX: u64 = 8 * 1024;
const TAIL_LINES_MAX: usize = 30;
const PASSWORD_BYTES: u64 = 24;

/// Opens a log for appending; a large one is first put aside as `<name>.old`. Returns the file and its length.
pub(crate) fn open_log(path: &Path) -> Result<(File, u64), ServiceError> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
        let mut old = path.as_os_str().to_owned();
        old.push(".old");
        fs::rename(path, old).map_err(ServiceError::io("rotate", path))?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let file = file.map_err(ServiceError::io("open", path))?;
    let length = file.metadata().map_err(ServiceError::io("read", path))?.len();
    Ok((file, length))
}

/// The last lines of a log that were written after `from` bytes; what cannot be read is said in their place.
pub(crate) fn log_tail(path: &Path, from: u64) -> String {
    match read_tail(path, from) {
        Ok(text) if text.trim().is_empty() => "(nothing was logged)".to_owned(),
        Ok(text) => {
            let lines: Vec<&str> = text.trim_end().lines().collect();
            lines[lines.len().saturating_sub(TAIL_LINES_MAX)..].join("\n")
        }
        Err(error) => format!("(the log cannot be read: {error})"),
    }
}

fn read_tail(path: &Path, from: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL_BYTES_MAX))))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A server's password.
pub(crate) struct Password {
    pub(crate) text: String,
    /// Just made, so the server does not know it yet.
    pub(crate) is_new: bool,
}

/// The password kept in `path`, made from the system's randomness the first time. Only its owner can read it.
pub(crate) fn password(path: &Path) -> Result<Password, ServiceError> {
    match fs::read_to_string(path) {
        Ok(found) if !found.trim().is_empty() => {
            return Ok(Password { text: found.trim().to_owned(), is_new: false });
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(ServiceError::io("read", path)(error)),
    }
    let source = Path::new("/dev/urandom");
    let mut bytes = Vec::new();
    let random = File::open(source).map_err(ServiceError::io("open", source))?;
    random.take(PASSWORD_BYTES).read_to_end(&mut bytes).map_err(ServiceError::io("read", source))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write_private(path, &text)?;
    Ok(Password { text, is_new: true })
}

/// Replaces a file, readable by its owner only.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), ServiceError> {
    let mut file = OpenOptions::new();
    let mut file = file
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(ServiceError::io("create", path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(ServiceError::io("write", path))
}

/// Makes the names in a folder, or a file's content, outlast a crash of the machine.
pub(crate) fn sync(path: &Path) -> Result<(), ServiceError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(ServiceError::io("sync", path))
}
