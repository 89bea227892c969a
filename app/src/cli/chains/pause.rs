//! `wopay chains pause` and `wopay chains resume`.

use anyhow::Context as _;
use wopay_domain::chains::ChainCommand;
use wopay_domain::{Asset, AssetId, ChainCatalog, ChainName};

use super::{chain, execute, now};
use crate::cli::print_line;
use crate::config::Loaded;
use crate::context::Administration;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Pause {
    #[command(flatten)]
    what: What,
    /// Why. Merchants see it when a payment is refused, and it stays in the ledger for ever.
    #[arg(long)]
    reason: String,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Resume {
    #[command(flatten)]
    what: What,
}

/// A chain, or one of its assets.
#[derive(Debug, clap::Args)]
struct What {
    /// The chain, by its name in the configuration.
    chain: String,
    /// Only this token or coin, by its symbol.
    #[arg(long, value_name = "SYMBOL")]
    token: Option<String>,
}

impl Pause {
    pub(super) async fn run(self, loaded: Loaded) -> anyhow::Result<()> {
        let Self { what, reason } = self;
        let command = |chain: ChainName, asset: Option<AssetId>| match asset {
            Some(asset) => ChainCommand::PauseToken { chain, asset, reason, at: now() },
            None => ChainCommand::Pause { chain, reason, at: now() },
        };
        let is_news = what.execute(loaded, command).await?;
        print_line(&if is_news {
            format!("{what} takes no new payments. Money on its way is watched and credited as before.")
        } else {
            format!("{what} was paused already.")
        });
        Ok(())
    }
}

impl Resume {
    pub(super) async fn run(self, loaded: Loaded) -> anyhow::Result<()> {
        let what = self.what;
        let command = |chain: ChainName, asset: Option<AssetId>| match asset {
            Some(asset) => ChainCommand::ResumeToken { chain, asset, at: now() },
            None => ChainCommand::Resume { chain, at: now() },
        };
        let is_news = what.execute(loaded, command).await?;
        print_line(&if is_news {
            format!("{what} takes new payments again.")
        } else {
            format!("{what} was not paused.")
        });
        Ok(())
    }
}

impl What {
    /// Executes a command on it; `false` when it changed nothing.
    async fn execute(
        &self,
        loaded: Loaded,
        command: impl FnOnce(ChainName, Option<AssetId>) -> ChainCommand,
    ) -> anyhow::Result<bool> {
        let configured = loaded.catalog.clone();
        let administration = Administration::open(loaded).await?;
        let executed = async {
            let catalog = administration.ledger.catalog(&configured).await?;
            let (name, assets) = accepted(&catalog, &self.chain)?;
            let asset = self.token.as_deref().map(|symbol| {
                let known: Vec<&str> = assets.iter().map(|asset| asset.symbol.as_str()).collect();
                let unknown = || format!("{name} has no {symbol}; it has {}", known.join(", "));
                let asset = assets.iter().find(|asset| asset.symbol.eq_ignore_ascii_case(symbol));
                asset.map(|asset| asset.id.clone()).with_context(unknown)
            });
            execute(&administration, command(name.clone(), asset.transpose()?)).await
        };
        let executed = executed.await;
        administration.close().await;
        Ok(executed?.position.is_some())
    }
}

/// The chain of this name and what it accepts, also if it was added and the configuration here lacks it: others serve it.
fn accepted<'a>(catalog: &'a ChainCatalog, name: &str) -> anyhow::Result<(&'a ChainName, &'a [Asset])> {
    let elsewhere = catalog.unserved().iter().find(|(chain, _)| chain.as_str() == name);
    match elsewhere {
        Some((chain, unserved)) => Ok((chain, &unserved.accepted.assets)),
        None => chain(catalog, name).map(|spec| (&spec.name, spec.assets.as_slice())),
    }
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.token {
            Some(token) => write!(f, "{token} on {}", self.chain),
            None => f.write_str(&self.chain),
        }
    }
}
