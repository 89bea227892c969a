//! Where test servers come from.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use wopay_private_services::BinarySearch;

/// More folders to look for servers in, separated like `PATH`.
const TOOLS_VARIABLE: &str = "WOPAY_TEST_TOOLS";
const ANVIL_VARIABLE: &str = "WOPAY_TEST_ANVIL";
const SURFPOOL_VARIABLE: &str = "WOPAY_TEST_SURFPOOL";
const SURFPOOL: &str = ".wopay/tools/surfpool/wopay-surfpool";

/// A path inside the repository.
pub(crate) fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("testkit lies in the repository").join(path)
}

/// `PATH`, `$WOPAY_TEST_TOOLS`, and what `make tools` put into the repository.
pub(crate) fn binary_search() -> BinarySearch {
    let named: Option<OsString> = std::env::var_os(TOOLS_VARIABLE);
    let mut extra_dirs: Vec<PathBuf> = named.iter().flat_map(std::env::split_paths).collect();
    extra_dirs.push(in_repository(".wopay/tools/py"));
    BinarySearch { path: std::env::var_os("PATH"), extra_dirs }
}

/// `$WOPAY_TEST_SURFPOOL`, or the one that `make tools` built.
pub(crate) fn surfpool_binary() -> PathBuf {
    let binary = std::env::var_os(SURFPOOL_VARIABLE).map_or_else(|| in_repository(SURFPOOL), PathBuf::from);
    assert!(binary.is_file(), "no {}: run `make tools`, or set {SURFPOOL_VARIABLE}", binary.display());
    binary
}

/// `$WOPAY_TEST_ANVIL`, `anvil` on `PATH`, or the one of `npm ci` in `tools/`.
pub(crate) fn anvil_binary() -> PathBuf {
    if let Some(named) = std::env::var_os(ANVIL_VARIABLE) {
        return PathBuf::from(named);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("anvil"));
    // There is a package for each platform, with the binary inside.
    let packages = std::fs::read_dir(in_repository("tools/node_modules/@foundry-rs"));
    let packages = packages.into_iter().flatten().flatten().map(|entry| entry.path().join("bin/anvil"));
    let found = on_path.chain(packages).find(|candidate| candidate.is_file());
    found.unwrap_or_else(|| {
        panic!("no anvil on PATH nor in tools/node_modules: run `make tools`, install Foundry, or set {ANVIL_VARIABLE}")
    })
}
