//! The configuration: one TOML file, every key overridable by a `WOPAY_…` variable, secrets only by variable or file.
//!
//! This crate is the only reader of the environment, and this folder the only place in it.

mod chains;
mod check;
mod env;
mod error;
mod load;
mod presets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;
use url::Url;

pub(crate) use chains::{
    ChainConfig, Chains, FinalityMode, Traces as TraceSetting, agreement, by_address, canonical_token,
};
pub(crate) use error::ConfigError;
pub(crate) use load::{Loaded, Source};

/// The log filter when none is set.
pub(crate) const DEFAULT_LOG_FILTER: &str = "info";

/// What an installation is set to. Unknown keys are refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Development makes keys and migrates by itself; production refuses both and weak settings.
    pub(crate) environment: Environment,
    /// Where HTTP is served.
    pub(crate) listen: SocketAddr,
    /// How the outside reaches us; the base of checkout links. Default: `http://<listen>`.
    pub(crate) public_url: Option<Url>,
    /// Where private services and generated keys live.
    pub(crate) data_dir: PathBuf,
    /// Postgres, as the application's role; without it a private one is started.
    pub(crate) database_url: Option<String>,
    /// The same database as the role that owns the tables: for migrations and rebuilds.
    pub(crate) database_owner_url: Option<String>,
    /// NATS; without it a private one is started.
    pub(crate) nats_url: Option<String>,
    /// The ledger's name in subjects and advisory locks.
    pub(crate) ledger: String,
    pub(crate) custody: Custody,
    pub(crate) webhooks: Webhooks,
    pub(crate) audit: Audit,
    pub(crate) log: Log,
    pub(crate) chains: Chains,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            environment: Environment::default(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            data_dir: PathBuf::from(".wopay"),
            database_url: None,
            database_owner_url: None,
            nats_url: None,
            ledger: "main".to_owned(),
            custody: Custody::default(),
            webhooks: Webhooks::default(),
            audit: Audit::default(),
            log: Log::default(),
            chains: Chains::default(),
        }
    }
}

/// How strict to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Environment {
    #[default]
    Development,
    Production,
}

/// Keys.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Custody {
    /// A file with the master key (64 hex digits), readable by its owner alone.
    pub(crate) master_key_file: Option<PathBuf>,
    /// The master key itself; only by the variable `WOPAY_CUSTODY_MASTER_KEY`.
    #[serde(skip)]
    pub(crate) master_key: Option<secrecy::SecretString>,
    /// How many addresses are derived ahead.
    pub(crate) address_pool: u32,
    /// How many addresses an API process takes at a time.
    pub(crate) address_lease: u32,
    /// Accounts of ours that are no deposit addresses, by chain: counted when ledger and chain are reconciled.
    pub(crate) treasury: BTreeMap<String, Vec<String>>,
}

impl Default for Custody {
    fn default() -> Self {
        Self {
            master_key_file: None,
            master_key: None,
            address_pool: 5_000,
            address_lease: 200,
            treasury: BTreeMap::new(),
        }
    }
}

impl std::fmt::Debug for Custody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Custody")
            .field("master_key_file", &self.master_key_file)
            .field("master_key", &self.master_key.as_ref().map(|_| "[set]"))
            .field("address_pool", &self.address_pool)
            .field("address_lease", &self.address_lease)
            .field("treasury", &self.treasury)
            .finish()
    }
}

/// Webhook delivery.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Webhooks {
    /// Private networks in which receivers are allowed (plain http too).
    pub(crate) allow_networks: Vec<IpNet>,
}

impl Webhooks {
    /// Where webhooks may go.
    pub(crate) fn policy(&self) -> wopay_webhooks::Policy {
        wopay_webhooks::Policy { allow_networks: self.allow_networks.clone() }
    }
}

/// The audit log: what is signed, and where its newest head is copied to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Audit {
    /// The log's name, which is also its key's. Default: `wopay.local/<ledger>`.
    pub(crate) origin: Option<String>,
    /// The copy of the newest checkpoint. Default: `audit/checkpoint` under `data_dir`.
    pub(crate) checkpoint_file: Option<PathBuf>,
}

/// Logging, to standard error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// `json`, `text`, or `auto`: text on a terminal, else JSON.
    pub(crate) format: LogFormat,
    /// A filter as of `tracing-subscriber`, for example `info,wopay_api=debug`.
    pub(crate) filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, filter: DEFAULT_LOG_FILTER.to_owned() }
    }
}

/// See [`Log::format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Auto,
    Json,
    Text,
}

impl Config {
    /// The base of links that we hand out, without a slash at the end.
    pub(crate) fn base_url(&self) -> String {
        let url = self.public_url.as_ref().map_or_else(|| format!("http://{}", self.listen), Url::to_string);
        url.trim_end_matches('/').to_owned()
    }

    /// The name of the audit log and of its key.
    pub(crate) fn audit_origin(&self) -> String {
        self.audit.origin.clone().unwrap_or_else(|| format!("wopay.local/{}", self.ledger))
    }

    /// Where the newest checkpoint is copied to, outside the database.
    pub(crate) fn checkpoint_file(&self) -> PathBuf {
        self.audit.checkpoint_file.clone().unwrap_or_else(|| self.data_dir.join("audit").join("checkpoint"))
    }
}
