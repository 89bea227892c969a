//! `wopay chains …`: what is configured, what was changed since, and what the nodes say to it.

mod add;
mod add_token;
mod check;
mod list;
mod pause;

use anyhow::Context as _;
use chrono::{SubsecRound as _, Utc};
use wopay_commands::Executed;
use wopay_domain::chains::{Chain, ChainCommand};
use wopay_domain::{ChainCatalog, ChainSpec, Timestamp};

use super::operator;
use crate::config::Loaded;
use crate::context::Administration;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show every chain with its assets, and what takes no new payments at the moment.
    List {
        /// Print a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Ask every endpoint of every chain for its chain id, head and finality, and for each token's code and decimals, also
    /// of tokens that were added at run time. Ends with exit code 1 if anything is not as configured.
    Check {
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Accept one more chain, without a restart. Write its table, `[chains.NAME]`, into the configuration first, of every
    /// process that serves chains: they read that table when the chain is added. Every endpoint is asked for all that
    /// `wopay chains check` looks at, and nothing is added unless it is as configured. A chain cannot be removed again,
    /// only paused.
    Add(add::Args),
    /// Accept one more token on a configured chain, without a restart. Every endpoint is asked for its code and decimals
    /// first. A token cannot be removed again, only paused.
    AddToken(add_token::Args),
    /// Take no new payments on a chain, or in one of its assets. Money on its way is watched and credited as before.
    Pause(pause::Pause),
    /// Take new payments again.
    Resume(pause::Resume),
}

impl Command {
    pub(super) async fn run(self, loaded: Loaded) -> anyhow::Result<()> {
        match self {
            Self::List { json } => list::run(loaded, json).await,
            Self::Check { json } => check::run(loaded, json).await,
            Self::Add(args) => args.run(loaded).await,
            Self::AddToken(args) => args.run(loaded).await,
            Self::Pause(args) => args.run(loaded).await,
            Self::Resume(args) => args.run(loaded).await,
        }
    }
}

/// The chain of this name in a catalogue.
fn chain<'a>(catalog: &'a ChainCatalog, name: &str) -> anyhow::Result<&'a ChainSpec> {
    catalog.get(name).with_context(|| {
        let known: Vec<&str> = catalog.iter().map(|chain| chain.name.as_str()).collect();
        format!("no chain {name:?} is configured; there are {}", known.join(", "))
    })
}

async fn execute(administration: &Administration, command: ChainCommand) -> anyhow::Result<Executed<Chain>> {
    let executed = administration.ledger.execute_chain(command, &operator::metadata()).await;
    executed.context("nothing was changed, as far as is known")
}

fn now() -> Timestamp {
    Utc::now().trunc_subsecs(6)
}
