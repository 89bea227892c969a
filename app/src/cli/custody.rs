//! `wopay custody …`.

use std::path::PathBuf;

use anyhow::Context as _;
use wopay_commands::AddressLeases;
use wopay_custody::{KeyStore, WhenMissing};

use crate::config::Loaded;
use crate::context::Administration;
use crate::keys;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make the wallet of this installation, if it has none. Development does this by itself.
    Init,
    /// Use the wallet of these BIP-39 words. Refused when there is another one, or addresses of another one.
    Import {
        /// A file that holds the words.
        #[arg(long, value_name = "FILE")]
        mnemonic_file: PathBuf,
    },
    /// Never give out the next addresses: to be run after an older backup was restored and before anything else, or money
    /// that is paid for a lost payment is credited to a new one. Skipped addresses are watched as all others.
    SkipAddresses {
        /// How many: the payments since the backup, and `custody.address_lease` for each start of an `api` since.
        #[arg(value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
    },
    /// Print the wallet's BIP-39 words, for the backup on paper. Whoever has them has the money.
    Export,
}

impl Command {
    pub(super) async fn run(self, loaded: Loaded) -> anyhow::Result<()> {
        let administration = Administration::open(loaded).await?;
        let done = self.act(&administration).await;
        administration.close().await;
        super::print_line(&done?);
        Ok(())
    }

    async fn act(self, administration: &Administration) -> anyhow::Result<String> {
        let pool = &administration.pool;
        if let Self::SkipAddresses { count } = self {
            let cursors = AddressLeases::new(pool.clone(), 1).skip(count).await.context("no address was skipped")?;
            let lines = cursors.iter().map(|(family, next)| format!("The next {family} address is number {next}."));
            return Ok(if cursors.is_empty() {
                "No address was ever derived.".to_owned()
            } else {
                lines.collect::<Vec<_>>().join("\n")
            });
        }
        let master = keys::master_key(&administration.config)?;
        match self {
            Self::SkipAddresses { .. } => unreachable!("handled above"),
            Self::Init => {
                let store = KeyStore::open(pool, &master, WhenMissing::Create).await.context("no wallet was made")?;
                Ok(format!("The wallet is {}. Back it up: `wopay custody export`.", store.fingerprint()))
            }
            Self::Import { mnemonic_file } => {
                let words = std::fs::read_to_string(&mnemonic_file)
                    .with_context(|| format!("cannot read {}", mnemonic_file.display()))?;
                let store = KeyStore::import(pool, &master, words.trim()).await.context("no wallet was imported")?;
                Ok(format!("The wallet is {}.", store.fingerprint()))
            }
            Self::Export => {
                let store =
                    KeyStore::open(pool, &master, WhenMissing::Refuse).await.context("cannot open the wallet")?;
                Ok(store.export_mnemonic().to_string())
            }
        }
    }
}
