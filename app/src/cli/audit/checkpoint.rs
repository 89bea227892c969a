//! `wopay audit checkpoint`: a signed head to keep.

use anyhow::Context as _;
use wopay_audit::AuditError;
use wopay_audit::query::{checkpoint_at, latest_checkpoint};

use super::ledger::ReadLedger;
use crate::cli::print_line;
use crate::config::Loaded;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Its size [default: the newest].
    #[arg(long)]
    size: Option<i64>,
}

/// Prints it.
///
/// # Errors
/// When there is none.
pub(super) async fn run(args: Args, loaded: Loaded) -> anyhow::Result<bool> {
    let ledger = ReadLedger::open(loaded).await?;
    let found = match args.size {
        Some(size) => checkpoint_at(&ledger.pool, size).await,
        None => latest_checkpoint(&ledger.pool).await,
    };
    ledger.close().await;
    let missing = args.size.map_or(AuditError::NothingSealed, |size| AuditError::NoCheckpoint { size });
    let checkpoint = found?.ok_or(missing).context("there is no such checkpoint")?;
    print_line(checkpoint.note.trim_end_matches('\n'));
    Ok(true)
}
