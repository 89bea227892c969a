//! `wopay audit check-export`: what a folder proves, without server, database or configuration.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use wopay_audit::PublicKey;
use wopay_audit::export::{CheckOptions, CheckReport, check};

use super::progress::LogBar;
use crate::cli::print_line;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
What is checked: that every file is the one that the manifest names; that the checkpoint is signed by the key; that the
events, line by line, are those at their positions in the signed log, none missing, none changed; that journal and
statements follow from them and that debits equal credits. What is not: opening balances of a period that does not begin at
position 1, and whether a key that came with the export is the right one (give --key).")]
pub(in crate::cli) struct Args {
    /// The export.
    dir: PathBuf,

    /// The log's public key, from somewhere else than the export: `wopay audit key` prints it.
    #[arg(long)]
    key: Option<PublicKey>,

    /// A checkpoint that you keep: the log of the export must hold all of it.
    #[arg(long, value_name = "FILE")]
    trusted: Option<PathBuf>,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Checks and prints. `false`: something is wrong.
///
/// # Errors
/// When it cannot be checked at all.
pub(super) fn run(args: &Args) -> anyhow::Result<bool> {
    let trusted = args.trusted.as_deref().map(read_checkpoint).transpose()?;
    let bar = LogBar::new();
    let options = CheckOptions { key: args.key.clone(), trusted };
    let report = check(&args.dir, &options, &|progress| bar.show(progress));
    bar.finish();
    let report = report.context("the export cannot be checked")?;
    if args.json {
        print_line(&serde_json::to_string_pretty(&report)?);
    } else {
        show(&report);
    }
    Ok(report.problems.is_empty())
}

/// A checkpoint that somebody keeps.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn read_checkpoint(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read the checkpoint {}", path.display()))
}

fn show(report: &CheckReport) {
    print_line(&format!(
        "Export of {}, positions {} to {}, checkpoint of size {}, {} files",
        report.origin, report.from_position, report.to_position, report.checkpoint_size, report.files
    ));
    print_line(&format!("Key: {}", report.public_key));
    print_line(&format!("SHA-256 of manifest.json: {}", report.manifest_sha256));
    for problem in &report.problems {
        print_line(&format!("WRONG: {problem}."));
    }
    if !report.problems.is_empty() {
        return;
    }
    print_line("Every event is in the signed log at its position; journal and statements follow from them.");
    if report.holds_trusted_checkpoint {
        print_line("The log holds all of the checkpoint that you keep.");
    }
    if !report.openings_are_proven {
        print_line("Not proven: the opening balances, which rest on what came before the period.");
    }
    if !report.key_was_given {
        print_line(
            "Not proven: that this is the right key. It came with the export; compare it with one that you trust.",
        );
    }
}
