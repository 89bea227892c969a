//! Who owns a data folder, and whether a server of an earlier owner still runs in it.
//!
//! Two `flock`s do this without trusting process ids. `<service>.lock` is held by us and dies with us: a second live
//! process finds it taken. `<service>.running` is the server's standard output, so the lock on it lasts until the
//! server, its supervisor and all its children are gone: that is what a start after a `kill -9` waits for.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Service, ServiceError};

/// An orphan whose supervisor lives stops within this time by itself.
const PATIENCE: Duration = Duration::from_secs(3);
/// What an orphan without supervisor gets after it was told to stop.
const PATIENCE_AFTER_STOP: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Exclusive ownership of one service's data in a folder.
#[derive(Debug)]
pub(crate) struct Ownership {
    /// Closed, and so unlocked, when we die.
    _lock: File,
    /// To be the server's standard output.
    pub(crate) running: File,
}

/// The lock file of a service, opened or made. It tells who we are even before it is locked.
pub(crate) fn open_lock(home: &Path, service: Service) -> Result<(File, PathBuf), ServiceError> {
    let path = home.join(format!("{service}.lock"));
    Ok((open(&path)?, path))
}

/// Takes the folder, or says who has it. `stop_orphan` is called once when a left-over server does not go by itself.
pub(crate) fn take(
    home: &Path,
    service: Service,
    stop_orphan: impl FnOnce() -> Result<(), ServiceError>,
) -> Result<Ownership, ServiceError> {
    let (lock, lock_path) = open_lock(home, service)?;
    if !try_lock(&lock, &lock_path)? {
        return Err(ServiceError::InUse { service, data_dir: home.to_owned() });
    }
    let path = home.join(format!("{service}.running"));
    let running = open(&path)?;
    if !wait_for(&running, &path, PATIENCE)? {
        tracing::warn!(%service, home = %home.display(), "stopping a server left by an earlier process");
        stop_orphan()?;
        if !wait_for(&running, &path, PATIENCE_AFTER_STOP)? {
            return Err(ServiceError::PreviousStillRunning {
                service,
                data_dir: home.to_owned(),
                waited: PATIENCE + PATIENCE_AFTER_STOP,
            });
        }
    }
    Ok(Ownership { _lock: lock, running })
}

fn open(path: &Path) -> Result<File, ServiceError> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).read(true).mode(0o600).open(path).map_err(ServiceError::io("open", path))
}

fn try_lock(file: &File, path: &Path) -> Result<bool, ServiceError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(ServiceError::io("lock", path)(error)),
    }
}

fn wait_for(file: &File, path: &Path, limit: Duration) -> Result<bool, ServiceError> {
    let deadline = Instant::now() + limit;
    loop {
        if try_lock(file, path)? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(POLL);
    }
}

/// The process id on the first line of a pid file.
pub(crate) fn read_pid(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.lines().next()?.trim().parse().ok()
}
