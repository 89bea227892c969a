//! From file and variables to a checked configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use toml::Table;
use wopay_domain::ChainCatalog;

use super::chains::catalog;
use super::{Config, ConfigError, check, env, presets};

/// The variable that may hold the master key itself.
const MASTER_KEY: &str = "WOPAY_CUSTODY_MASTER_KEY";

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "wopay.toml";

/// A configuration that passed every check, with what was built from it.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) catalog: Arc<ChainCatalog>,
}

/// Where a process has its configuration from: a file, and the environment over it. Neither is kept in memory.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    path: Option<PathBuf>,
}

impl Source {
    /// `None`: `wopay.toml`, if there is one.
    pub(crate) const fn new(path: Option<PathBuf>) -> Self {
        Self { path }
    }

    /// Reads and checks the configuration as it is now.
    ///
    /// # Errors
    /// See [`load`].
    pub(crate) fn load(&self) -> Result<Loaded, ConfigError> {
        // Variables that are no valid Unicode cannot be ours.
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        load(self.path.as_deref(), &variables)
    }
}

/// Reads and checks the configuration.
///
/// Without `path`, `wopay.toml` is read if there is one; a path that was named must exist.
///
/// # Errors
/// When the file cannot be read or a setting is wrong.
pub(super) fn load(path: Option<&Path>, variables: &BTreeMap<String, String>) -> Result<Loaded, ConfigError> {
    let mut table = read(path)?;
    env::overlay(&mut table, variables.clone())?;
    presets::complete(&mut table)?;
    let mut config = Config::deserialize(table).map_err(|error| ConfigError::Shape(Box::new(error)))?;
    config.custody.master_key = variables.get(MASTER_KEY).map(|key| key.clone().into());
    resolve_endpoints(&mut config, variables)?;
    check::check(&config)?;
    let catalog = Arc::new(catalog(&config.chains)?);
    Ok(Loaded { config, catalog })
}

fn read(path: Option<&Path>) -> Result<Table, ConfigError> {
    let file = path.map_or_else(|| PathBuf::from(DEFAULT_FILE), Path::to_path_buf);
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if path.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(Table::new()),
        Err(source) => return Err(ConfigError::Read { path: file, source }),
    };
    text.parse().map_err(|error| ConfigError::Syntax { path: file, source: Box::new(error) })
}

/// Endpoints whose URLs carry keys come from variables that the file names.
fn resolve_endpoints(config: &mut Config, variables: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for (name, chain) in &mut config.chains {
        for variable in &chain.rpc_env {
            let invalid = |reason: String| ConfigError::Chain { chain: name.clone(), reason };
            let text = variables
                .get(variable)
                .ok_or_else(|| invalid(format!("`rpc_env` names {variable}, which is not set")))?;
            let url = text.parse().map_err(|_| invalid(format!("{variable} does not hold a URL")))?;
            chain.rpc.push(url);
        }
    }
    Ok(())
}
