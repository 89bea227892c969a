//! `wopay audit check-proof`: needs the proof, the public key and nothing else.

use std::path::PathBuf;

use anyhow::Context as _;
use wopay_audit::{ProofError, PublicKey, SignedCheckpoint, check_consistency, check_proof_of};

use super::verify::read;
use crate::cli::print_line;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The proof, of an event or of consistency.
    proof: PathBuf,

    /// The log's public key, as `wopay audit key` prints it. May be repeated.
    #[arg(long = "key", value_name = "KEY", required = true)]
    keys: Vec<PublicKey>,

    /// The event's line as you have it (of an export): the proof must be about it.
    #[arg(long, value_name = "FILE")]
    event: Option<PathBuf>,

    /// A checkpoint that you kept. An event's proof must lead to it; a proof of consistency must begin with it.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

/// Checks and prints. `false`: it proves nothing.
///
/// # Errors
/// When a file cannot be read, or the checkpoint that was kept is not to be believed.
pub(super) fn run(args: &Args) -> anyhow::Result<bool> {
    let text = read(&args.proof)?;
    let event = args.event.as_deref().map(read).transpose()?;
    let kept = args.checkpoint.as_deref().map(read).transpose()?;
    let kept = kept.map(|note| SignedCheckpoint::open(&note, &args.keys)).transpose();
    let kept = kept.context("the checkpoint that was kept is not to be believed")?;
    let checked = if text.starts_with("old ") {
        let kept = kept.context("a proof of consistency begins with a checkpoint that you kept: --checkpoint FILE")?;
        check_consistency(&text, &kept, &args.keys)
            .map(|new| format!("{}: the log of {} events holds all of the log of {}.", new.origin, new.size, kept.size))
    } else {
        check_event(&text, event.as_deref(), kept.as_ref(), &args.keys)
    };
    match checked {
        Ok(proven) => {
            print_line(&proven);
            Ok(true)
        }
        Err(error) => {
            print_line(&format!("Nothing is proven: {:#}.", anyhow::Error::from(error)));
            Ok(false)
        }
    }
}

fn check_event(
    text: &str,
    event: Option<&str>,
    kept: Option<&SignedCheckpoint>,
    keys: &[PublicKey],
) -> Result<String, ProofError> {
    let line = event.map(|event| event.trim_end_matches(['\r', '\n']));
    let proven = check_proof_of(text, line, keys)?;
    let checkpoint = proven.checkpoint;
    if let Some(kept) = kept.filter(|kept| (kept.size, kept.root) != (checkpoint.size, checkpoint.root)) {
        return Err(ProofError::OtherCheckpoint { proven: checkpoint.size, given: kept.size });
    }
    Ok(format!(
        "{}: this event stands at position {} of the log of {} events.\n{}",
        checkpoint.origin, proven.position, checkpoint.size, proven.line
    ))
}
