//! The command line.

mod access;
mod audit;
mod chains;
mod custody;
mod deposits;
mod merchant;
mod migrate;
mod operator;
mod progress;
mod projections;
mod refund;
mod serve;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::{self, Loaded, Source};

/// WoPay: a self-hosted Web3 payment gateway on an event-sourced ledger.
#[derive(Debug, Parser)]
#[command(
    name = "wopay",
    version,
    propagate_version = true,
    after_help = "\
Every key of the configuration can be set by a variable: `listen` by WOPAY_LISTEN, `custody.address_pool` by \
WOPAY_CUSTODY_ADDRESS_POOL, `chains.bsc.rpc` by WOPAY_CHAINS_BSC_RPC (a list has commas)."
)]
pub(crate) struct Cli {
    /// The configuration file [default: wopay.toml, if there is one].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway: every role, or those named.
    Serve(serve::Args),
    /// Bring the database to this version's schema.
    Migrate,
    /// Manage merchants.
    #[command(subcommand)]
    Merchant(merchant::Command),
    /// Send money of a payment back, and keep the books of it.
    #[command(subcommand)]
    Refund(refund::Command),
    /// Decide about money that counts for no payment.
    #[command(subcommand)]
    Deposits(deposits::Command),
    /// Manage the keys with which finance and auditors read the books.
    #[command(subcommand)]
    Access(access::Command),
    /// Check the ledger, and show how it came about.
    #[command(subcommand)]
    Audit(Box<audit::Command>),
    /// Make, import or back up the wallet.
    #[command(subcommand)]
    Custody(custody::Command),
    /// Manage the read side.
    #[command(subcommand)]
    Projections(projections::Command),
    /// Look at the chains; add some, and tokens, and pause them.
    #[command(subcommand)]
    Chains(chains::Command),
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// What went wrong, with its causes; the process then ends with exit code 1.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        if let Command::Audit(command) = &self.command
            && let Some(done) = command.run_offline()
        {
            return done;
        }
        let source = Source::new(self.config);
        let mut loaded = source.load()?;
        match self.command {
            Command::Serve(args) => {
                args.apply(&mut loaded.config);
                crate::telemetry::init_logs(&loaded.config.log)?;
                Box::pin(serve::run(args, loaded, source)).await
            }
            command => {
                // Results go to standard output; only what goes wrong is logged.
                if loaded.config.log.filter == config::DEFAULT_LOG_FILTER {
                    loaded.config.log.filter = "warn".to_owned();
                }
                crate::telemetry::init_logs(&loaded.config.log)?;
                command.run(loaded).await
            }
        }
    }
}

impl Command {
    async fn run(self, loaded: Loaded) -> anyhow::Result<()> {
        match self {
            Self::Serve(_) => unreachable!(),
            Self::Migrate => migrate::run(loaded).await,
            Self::Merchant(command) => command.run(loaded).await,
            Self::Refund(command) => command.run(loaded).await,
            Self::Deposits(command) => command.run(loaded).await,
            Self::Access(command) => command.run(loaded).await,
            Self::Audit(command) => command.run(loaded).await,
            Self::Custody(command) => command.run(loaded).await,
            Self::Projections(command) => command.run(loaded).await,
            Self::Chains(command) => command.run(loaded).await,
        }
    }
}

/// Prints a line of output; a reader that went away (`wopay … | head`) is no error.
fn print_line(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
