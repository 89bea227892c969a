//! `wopay audit …`: what auditors get. One file for each subcommand.

mod check_export;
mod check_proof;
mod checkpoint;
mod explain;
mod export;
mod key;
mod ledger;
mod progress;
mod prove;
mod reconcile;
mod replay;
mod verify;
mod what_if;

use std::io::Write as _;

pub(in crate::cli) use ledger::ReadLedger;

use crate::config::Loaded;

/// The process' exit code when something was checked and is not as it should be; 1 is for what could not be checked.
const NOT_AS_IT_SHOULD_BE: i32 = 2;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Recompute the Merkle log from the events and compare it with what was signed. Names the first event that was
    /// altered, removed, inserted or reordered. Ends with exit code 2 if there is one.
    Verify(verify::Args),
    /// Prove that an event is in the log, or that the log holds all of an earlier one.
    Prove(prove::Args),
    /// Check such a proof: needs the log's public key and neither server nor database. Ends with exit code 2 if it
    /// proves nothing.
    CheckProof(check_proof::Args),
    /// Print a signed checkpoint, to keep where nobody who writes to the database can.
    Checkpoint(checkpoint::Args),
    /// Print the public key that the log's checkpoints are signed with.
    Key,
    /// Show what was at a moment, from the events alone: one payment, merchant, unmatched deposit or chain, event by event,
    /// with the cause of each; or, without any, the whole ledger: counts, balances, trial balance.
    Replay(replay::Args),
    /// Explain a payment in words: what was asked, what happened and why, how it stands, what is in the books.
    Explain(explain::Args),
    /// Write a period into files that prove themselves: events, journal, statements, checkpoint, proofs, manifest.
    Export(export::Args),
    /// Check such an export: needs its folder and neither server, database nor configuration. Ends with exit code 2 if
    /// anything is wrong.
    CheckExport(check_export::Args),
    /// Decide the same facts again under another policy, and report what would differ. Changes nothing.
    WhatIf(what_if::Args),
    /// Compare what the ledger says that every address holds at a block with what the chain says. Ends with exit code 2
    /// if anything differs.
    Reconcile(reconcile::Args),
}

impl Command {
    /// Runs what needs no configuration, not even a readable one: who checks a proof may have nothing else of ours.
    pub(super) fn run_offline(&self) -> Option<anyhow::Result<()>> {
        let checked = match self {
            Self::CheckProof(args) => check_proof::run(args),
            Self::CheckExport(args) => check_export::run(args),
            _ => return None,
        };
        Some(checked.map(end))
    }

    pub(super) async fn run(self, loaded: Loaded) -> anyhow::Result<()> {
        let is_as_it_should_be = match self {
            Self::Verify(args) => verify::run(args, loaded).await?,
            Self::Prove(args) => prove::run(args, loaded).await?,
            Self::CheckProof(args) => check_proof::run(&args)?,
            Self::Checkpoint(args) => checkpoint::run(args, loaded).await?,
            Self::Key => key::run(&loaded)?,
            Self::Replay(args) => replay::run(args, loaded).await?,
            Self::Explain(args) => explain::run(args, loaded).await?,
            Self::Export(args) => export::run(args, loaded).await?,
            Self::CheckExport(args) => check_export::run(&args)?,
            Self::WhatIf(args) => what_if::run(args, loaded).await?,
            Self::Reconcile(args) => reconcile::run(args, loaded).await?,
        };
        end(is_as_it_should_be);
        Ok(())
    }
}

/// Ends the process if something is not as it should be.
fn end(is_as_it_should_be: bool) {
    if !is_as_it_should_be {
        let _ = std::io::stdout().flush();
        std::process::exit(NOT_AS_IT_SHOULD_BE);
    }
}
