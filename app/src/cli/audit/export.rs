//! `wopay audit export`: a period in files that prove themselves.

use std::path::PathBuf;

use anyhow::Context as _;
use wopay_audit::PublicKey;
use wopay_audit::export::{ExportOptions, Exported, export};
use wopay_audit::replay::Moment;

use super::ledger::{ReadLedger, trusted_keys};
use super::progress::LogBar;
use crate::cli::print_line;
use crate::config::Loaded;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Files: events.jsonl (each line is a leaf of the Merkle log: SHA-256 of a zero byte and the line), journal.csv,
statements/*.csv, checkpoint, public-key, proofs/*, manifest.json (SHA-256 of each file). `wopay audit check-export DIR`
checks them without server, database or configuration.")]
pub(in crate::cli) struct Args {
    /// From this position or recorded time on [default: the beginning].
    #[arg(long, value_name = "POSITION|TIME")]
    from: Option<Moment>,

    /// Up to this position or recorded time, included [default: all that is sealed].
    #[arg(long, value_name = "POSITION|TIME")]
    to: Option<Moment>,

    /// A folder that does not exist yet, or is empty.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// An older checkpoint that the auditor keeps: the export then proves that the log still holds all of it.
    #[arg(long, value_name = "FILE")]
    trusted: Option<PathBuf>,

    /// The log's public key, as `wopay audit key` prints it [default: this installation's own, which takes the master
    /// key].
    #[arg(long, value_name = "KEY")]
    key: Option<PublicKey>,

    /// Print the manifest as JSON.
    #[arg(long)]
    json: bool,
}

/// Exports, checks, and prints what there is.
///
/// # Errors
/// When the period cannot be exported.
pub(super) async fn run(args: Args, loaded: Loaded) -> anyhow::Result<bool> {
    let trusted = args.trusted.as_deref().map(super::check_export::read_checkpoint).transpose()?;
    let read = ReadLedger::open(loaded).await?;
    let bar = LogBar::new();
    let options = ExportOptions { from: args.from, to: args.to, out: args.out.clone(), trusted };
    let exported = async {
        let keys = trusted_keys(&read.config, args.key.as_slice())?;
        let key = keys.first().context("no public key")?;
        let exported = export(&read.pool, key, &options, |progress| bar.show(progress)).await;
        exported.context("nothing was exported that can be relied on")
    };
    let exported = exported.await;
    bar.finish();
    read.close().await;
    show(&exported?, &args)
}

fn show(exported: &Exported, args: &Args) -> anyhow::Result<bool> {
    let manifest = &exported.manifest;
    if args.json {
        print_line(&serde_json::to_string_pretty(manifest)?);
        return Ok(true);
    }
    print_line(&format!(
        "Positions {} to {} of {} are in {}, and were checked against the checkpoint of size {}.",
        manifest.from_position,
        manifest.to_position,
        manifest.origin,
        args.out.display(),
        manifest.checkpoint_size
    ));
    print_line(&format!("{} files. SHA-256 of manifest.json: {}", manifest.files.len(), exported.manifest_sha256));
    print_line(&format!("To check it anywhere: wopay audit check-export {}", args.out.display()));
    Ok(true)
}
