//! `wopay audit prove`: a proof that checks without us.

use std::path::PathBuf;

use anyhow::Context as _;
use wopay_audit::query::{consistency_proof, inclusion_proof};

use super::ledger::ReadLedger;
use crate::cli::print_line;
use crate::config::Loaded;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The position of the event to prove.
    #[arg(required_unless_present = "old", conflicts_with = "old")]
    position: Option<i64>,

    /// Prove instead that the log holds all of what the checkpoint of this size covered.
    #[arg(long, value_name = "SIZE")]
    old: Option<i64>,

    /// The size of the checkpoint to lead to [default: the newest].
    #[arg(long)]
    size: Option<i64>,

    /// Write the proof to this file [default: standard output].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Makes the proof.
///
/// # Errors
/// When what is asked for is not sealed, or what is stored does not lead to the checkpoint.
pub(super) async fn run(args: Args, loaded: Loaded) -> anyhow::Result<bool> {
    let ledger = ReadLedger::open(loaded).await?;
    let proof = match args.old {
        Some(old) => consistency_proof(&ledger.pool, old, args.size).await.map(|proof| proof.to_string()),
        None => {
            // The command line sees to it that there is one of the two.
            let position = args.position.unwrap_or(0);
            inclusion_proof(&ledger.pool, position, args.size).await.map(|proof| proof.to_string())
        }
    };
    ledger.close().await;
    let proof = proof.context("nothing was proven")?;
    match &args.out {
        Some(path) => {
            std::fs::write(path, &proof).with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => print_line(proof.trim_end_matches('\n')),
    }
    Ok(true)
}
