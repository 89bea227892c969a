//! Checking an export with nothing but its folder.

mod events;
mod files;
mod proofs;
mod report;

use std::path::Path;

use self::events::{check_events, check_openings};
use self::files::{check_files, read_manifest};
use self::proofs::{check_checkpoint, check_proofs, check_trusted, key};
use crate::key::PublicKey;
use crate::replay::Progress;

pub use self::report::{CheckError, CheckReport, Problem};

/// What is trusted besides the folder.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// The log's public key, from somewhere else than the export.
    pub key: Option<PublicKey>,
    /// An older checkpoint that the auditor keeps.
    pub trusted: Option<String>,
}

/// Checks an export.
///
/// # Errors
/// When it cannot be checked at all. What is wrong with it is in the report.
pub fn check(folder: &Path, options: &CheckOptions, progress: &impl Fn(Progress)) -> Result<CheckReport, CheckError> {
    let (manifest, manifest_sha256) = read_manifest(folder)?;
    let mut problems = Vec::new();
    let listed = check_files(folder, &manifest, &mut problems)?;
    let keys = key(folder, options, &mut problems)?;
    let checkpoint = check_checkpoint(folder, &manifest, keys.as_ref(), &mut problems)?;
    check_openings(&manifest, &mut problems);
    let root = check_events(folder, &manifest, &listed, &mut problems, progress)?;
    if let (Some(root), Some(checkpoint)) = (root, &checkpoint)
        && root != checkpoint.root
    {
        problems.push(Problem::Root);
    }
    let mut holds_trusted_checkpoint = false;
    if let (Some(key), Some(checkpoint)) = (&keys, &checkpoint) {
        check_proofs(folder, &manifest, key, checkpoint, &mut problems)?;
        if let Some(trusted) = &options.trusted {
            holds_trusted_checkpoint = check_trusted(folder, trusted, key, checkpoint, &mut problems)?;
        }
    }
    Ok(CheckReport {
        origin: manifest.origin.clone(),
        from_position: manifest.from_position,
        to_position: manifest.to_position,
        checkpoint_size: manifest.checkpoint_size,
        public_key: keys.map_or_else(String::new, |key| key.to_string()),
        key_was_given: options.key.is_some(),
        holds_trusted_checkpoint,
        openings_are_proven: manifest.from_position == 1,
        files: listed.len(),
        manifest_sha256,
        problems,
    })
}
