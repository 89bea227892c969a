//! Where a server's data really sits.
//!
//! Postgres run for root works as an unprivileged user, who cannot pass through a closed folder such as `/root`.
//! Then the data goes to a folder named after the data folder below `/var/tmp` (kept over reboots), and a link in the
//! data folder points there, so every later start finds the same place.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::account::{Account, open_for_passage};
use crate::error::ServiceError;

const OPEN_PLACES: [&str; 2] = ["/var/tmp", "/tmp"];
const LINK: &str = "postgres.moved-here";

/// Makes the data folder and returns its absolute path without links.
pub(crate) fn make(data_dir: &Path) -> Result<PathBuf, ServiceError> {
    fs::create_dir_all(data_dir).map_err(ServiceError::io("create", data_dir))?;
    fs::canonicalize(data_dir).map_err(ServiceError::io("find", data_dir))
}

/// The folder that `account` can reach for this data folder (which [`make`] made).
pub(crate) fn reachable(data_dir: &Path, account: Option<Account>) -> Result<PathBuf, ServiceError> {
    let link = data_dir.join(LINK);
    if let Ok(moved) = fs::canonicalize(&link) {
        return Ok(moved);
    }
    let Some(account) = account else { return Ok(data_dir.to_owned()) };
    if account.can_enter(data_dir) {
        return Ok(data_dir.to_owned());
    }
    let moved = own_folder(&format!("wopay-{:016x}", fnv1a(data_dir.as_os_str().as_encoded_bytes())))?;
    if fs::symlink_metadata(&link).is_ok() {
        fs::remove_file(&link).map_err(ServiceError::io("replace", &link))?;
    }
    std::os::unix::fs::symlink(&moved, &link).map_err(ServiceError::io("create", &link))?;
    tracing::warn!(
        data_dir = %data_dir.display(), moved = %moved.display(), uid = account.uid,
        "postgres does not run as root, and the user it runs as cannot reach the data folder: its data is kept elsewhere"
    );
    Ok(moved)
}

/// A folder of that name in an open place, ours and passable by all. One that somebody else put there is refused.
pub(crate) fn own_folder(name: &str) -> Result<PathBuf, ServiceError> {
    let place = OPEN_PLACES.iter().map(Path::new).find(|place| place.is_dir()).unwrap_or(Path::new("/"));
    let path = place.join(name);
    match fs::DirBuilder::new().mode(0o711).create(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(ServiceError::io("create", &path)(error)),
    }
    let metadata = fs::symlink_metadata(&path).map_err(ServiceError::io("read", &path))?;
    if !metadata.is_dir() || metadata.uid() != 0 {
        return Err(ServiceError::ForeignFolder { path, owner: metadata.uid() });
    }
    open_for_passage(&path)?;
    Ok(path)
}

/// A short name for a path that stays the same over versions of Rust (FNV-1a, 64 bits); not for secrets.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(super::fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(super::fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
