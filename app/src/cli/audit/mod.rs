//! `wopay audit …`: what auditors get. One file for each subcommand.

mod reconcile;

use std::io::Write as _;

use crate::config::Loaded;

/// The process' exit code when something was checked and is not as it should be; 1 is for what could not be checked.
const NOT_AS_IT_SHOULD_BE: i32 = 2;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Compare what the ledger says that every address holds at a block with what the chain says. Ends with exit code 2
    /// if anything differs.
    Reconcile(reconcile::Args),
}

impl Command {
    pub(super) async fn run(self, loaded: Loaded) -> anyhow::Result<()> {
        let is_as_it_should_be = match self {
            Self::Reconcile(args) => reconcile::run(args, loaded).await?,
        };
        if !is_as_it_should_be {
            let _ = std::io::stdout().flush();
            std::process::exit(NOT_AS_IT_SHOULD_BE);
        }
        Ok(())
    }
}
