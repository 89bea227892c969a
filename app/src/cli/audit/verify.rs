//! `wopay audit verify`: recomputes the log from the events.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::HumanCount;
use wopay_audit::{PublicKey, VerifyOptions, VerifyReport, verify};

use super::ledger::{ReadLedger, trusted_keys};
use super::progress::LogBar;
use crate::cli::print_line;
use crate::config::Loaded;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Read only what came after this checkpoint (a signed note), up to which everything was verified before.
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,

    /// A checkpoint that was kept elsewhere: it must be a head of this log. May be repeated.
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,

    /// The log's public key, as `wopay audit key` prints it. May be repeated [default: this installation's own, which
    /// takes the master key].
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<PublicKey>,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Verifies and prints. `false`: something is not as it was sealed.
///
/// # Errors
/// When nothing can be said: the database, a key or a checkpoint that was named is not to be had.
pub(super) async fn run(args: Args, loaded: Loaded) -> anyhow::Result<bool> {
    let kept = args.checkpoints.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
    let since = args.since.as_deref().map(read).transpose()?;
    let keys = trusted_keys(&loaded.config, &args.keys)?;
    let checkpoint_file = Some(loaded.config.checkpoint_file());
    let ledger = ReadLedger::open(loaded).await?;
    let bar = LogBar::new();
    let options = VerifyOptions { keys, checkpoint_file, kept, since };
    let started = Instant::now();
    let verified = verify(&ledger.pool, &options, |at| bar.show_verified(at)).await;
    bar.finish();
    ledger.close().await;
    let report = verified.context("nothing was verified")?;
    if args.json {
        print_line(&serde_json::to_string_pretty(&report)?);
    } else {
        print(&report, started.elapsed());
    }
    Ok(report.is_sound())
}

pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn print(report: &VerifyReport, took: Duration) {
    for finding in &report.findings {
        print_line(&finding.to_string());
    }
    if report.findings_unlisted > 0 {
        print_line(&format!("… and {} more.", report.findings_unlisted));
    }
    let count = |number: i64| HumanCount(u64::try_from(number).unwrap_or(0)).to_string();
    // A rate for people: floats will do.
    let rate = report.events as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE);
    print_line(&format!(
        "Read {} events after position {} in {:.1} s ({rate:.0} events/s); {} signed checkpoints hold, the newest over {} \
         events; {} events are too new to be sealed.",
        count(report.events),
        count(report.from),
        took.as_secs_f64(),
        count(report.checkpoints),
        count(report.verified),
        count(report.unsealed()),
    ));
    if let Some(checkpoint) = &report.checkpoint {
        print_line(&format!("\n{}", checkpoint.trim_end()));
    }
    print_line(match report.first_position() {
        _ if report.is_sound() => "\nThe ledger is what was sealed.",
        Some(_) => "\nThe ledger is NOT what was sealed; the first position concerned is named first.",
        None => "\nThe ledger could NOT be found to be what was sealed.",
    });
}
