//! The private servers, started, stopped, killed and started again.
//!
//! Needs Postgres 15 or newer and nats-server 2.10 or newer: on PATH, in `$WOPAY_TEST_TOOLS`, or from `make tools`.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

mod binaries;
mod death;
mod nats;
mod postgres;
mod root;
mod supervise;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use wopay_private_services::BinarySearch;

/// What `make tools` installs.
fn wheels() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".wopay/tools/py")
}

fn search() -> BinarySearch {
    let named = std::env::var_os("WOPAY_TEST_TOOLS");
    let mut extra_dirs: Vec<PathBuf> = named.iter().flat_map(std::env::split_paths).collect();
    extra_dirs.push(wheels());
    BinarySearch { path: std::env::var_os("PATH"), extra_dirs }
}

/// A folder that the user Postgres runs as can enter.
fn folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o711);
    tempfile::Builder::new().prefix("wopay-services-").permissions(mode).tempdir().unwrap()
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
