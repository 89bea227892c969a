//! Key, checkpoint and proofs.

use std::path::Path;

use super::super::manifest::Manifest;
use super::super::{CHECKPOINT, CONSISTENCY, FIRST, LAST, PUBLIC_KEY};
use super::CheckOptions;
use super::files::read_text_if_there;
use super::report::{CheckError, Problem};
use crate::checkpoint::SignedCheckpoint;
use crate::key::PublicKey;
use crate::proof::{check_consistency, check_proof};

pub(super) fn key(
    folder: &Path,
    options: &CheckOptions,
    problems: &mut Vec<Problem>,
) -> Result<Option<PublicKey>, CheckError> {
    let Some(text) = read_text_if_there(&folder.join(PUBLIC_KEY))? else { return Ok(options.key.clone()) };
    if let Some(key) = &options.key {
        if text.trim() != key.to_string() {
            problems.push(Problem::OtherKey { found: text.trim().to_owned() });
        }
        return Ok(Some(key.clone()));
    }
    match text.parse() {
        Ok(key) => Ok(Some(key)),
        Err(error) => {
            let reason = format!("{PUBLIC_KEY}: {error}");
            problems.push(Problem::Checkpoint { reason });
            Ok(None)
        }
    }
}

pub(super) fn check_checkpoint(
    folder: &Path,
    manifest: &Manifest,
    key: Option<&PublicKey>,
    problems: &mut Vec<Problem>,
) -> Result<Option<SignedCheckpoint>, CheckError> {
    let (Some(note), Some(key)) = (read_text_if_there(&folder.join(CHECKPOINT))?, key) else { return Ok(None) };
    let checkpoint = match SignedCheckpoint::open(&note, std::slice::from_ref(key)) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            problems.push(Problem::Checkpoint { reason: error.to_string() });
            return Ok(None);
        }
    };
    let is_manifests = checkpoint.size == manifest.checkpoint_size
        && checkpoint.root.to_string() == manifest.checkpoint_root
        && checkpoint.origin == manifest.origin;
    if !is_manifests {
        problems.push(Problem::Checkpoint { reason: "it is not the one that the manifest names".to_owned() });
    }
    Ok(is_manifests.then_some(checkpoint))
}

/// The inclusion proofs are there for other tools; they must hold all the same.
pub(super) fn check_proofs(
    folder: &Path,
    manifest: &Manifest,
    key: &PublicKey,
    checkpoint: &SignedCheckpoint,
    problems: &mut Vec<Problem>,
) -> Result<(), CheckError> {
    for (path, position) in [(FIRST, manifest.from_position), (LAST, manifest.to_position)] {
        let Some(text) = read_text_if_there(&folder.join(path))? else { continue };
        let reason = match check_proof(&text, key) {
            Ok(proven) if proven.position == position && proven.checkpoint == *checkpoint => continue,
            Ok(_) => "it is about another event or checkpoint".to_owned(),
            Err(error) => error.to_string(),
        };
        problems.push(Problem::Proof { path: path.to_owned(), reason });
    }
    Ok(())
}

/// Whether the log holds all of a checkpoint that the auditor keeps.
pub(super) fn check_trusted(
    folder: &Path,
    trusted: &str,
    key: &PublicKey,
    checkpoint: &SignedCheckpoint,
    problems: &mut Vec<Problem>,
) -> Result<bool, CheckError> {
    let keys = std::slice::from_ref(key);
    let old = match SignedCheckpoint::open(trusted, keys) {
        Ok(old) => old,
        Err(error) => {
            problems.push(Problem::Checkpoint { reason: format!("the trusted one: {error}") });
            return Ok(false);
        }
    };
    if old.size == checkpoint.size && old.root == checkpoint.root {
        return Ok(true);
    }
    let reason = match read_text_if_there(&folder.join(CONSISTENCY))? {
        None => "the export was made without it (`wopay audit export --trusted FILE`)".to_owned(),
        Some(text) => match check_consistency(&text, &old, keys) {
            Ok(new) if new == *checkpoint => return Ok(true),
            Ok(_) => "it is about another checkpoint".to_owned(),
            Err(error) => error.to_string(),
        },
    };
    problems.push(Problem::Proof { path: CONSISTENCY.to_owned(), reason });
    Ok(false)
}
