//! `wopay audit explain`: a payment in words.

use anyhow::Context as _;
use wopay_audit::explain::explain;
use wopay_audit::replay::Moment;
use wopay_domain::PaymentId;

use super::ledger::ReadLedger;
use crate::cli::print_line;
use crate::config::Loaded;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The payment.
    payment: PaymentId,

    /// As it was when this position, or everything up to this recorded time, was there [default: now].
    #[arg(long, value_name = "POSITION|TIME")]
    as_of: Option<Moment>,
}

/// Prints it.
///
/// # Errors
/// When there is no such payment, or the ledger cannot be read.
pub(super) async fn run(args: Args, loaded: Loaded) -> anyhow::Result<bool> {
    let read = ReadLedger::open(loaded).await?;
    let explained = explain(&read.pool, args.payment, args.as_of).await;
    read.close().await;
    print_line(explained.context("it cannot be explained")?.trim_end());
    Ok(true)
}
