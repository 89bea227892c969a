//! Where the master key comes from: a variable, a file, or, in development, a file that is made on the first start.

use anyhow::{Context as _, bail};
use secrecy::ExposeSecret as _;
use wopay_vault::{FileAccess, MasterKey};

use crate::config::{Config, Environment};

/// The file that development makes under the data folder.
const GENERATED_FILE: &str = "master.key";

/// Refuses a production that names no key, before anything is started.
///
/// # Errors
/// Says what to set.
pub(crate) fn check_configured(config: &Config) -> anyhow::Result<()> {
    let named = config.custody.master_key.is_some() || config.custody.master_key_file.is_some();
    if config.environment == Environment::Production && !named {
        bail!(
            "no master key: production does not make one. Set WOPAY_CUSTODY_MASTER_KEY or custody.master_key_file \
             (make one with `openssl rand -hex 32`)"
        );
    }
    Ok(())
}

/// The installation's master key, for a command that must not make one: a new key would be another installation's.
///
/// # Errors
/// As [`master_key`], and when there is none.
pub(crate) fn existing_master_key(config: &Config) -> anyhow::Result<MasterKey> {
    let named = config.custody.master_key.is_some() || config.custody.master_key_file.is_some();
    let generated = config.data_dir.join(GENERATED_FILE);
    if !named && !generated.exists() {
        bail!("there is no master key here: none is configured, and {} does not exist", generated.display());
    }
    master_key(config)
}

/// The installation's master key. Development makes one when there is none.
///
/// # Errors
/// When it cannot be read or has not 32 bytes, or a key file can be read by others in production.
pub(crate) fn master_key(config: &Config) -> anyhow::Result<MasterKey> {
    check_configured(config)?;
    if let Some(text) = &config.custody.master_key {
        return MasterKey::parse(text.expose_secret()).context("WOPAY_CUSTODY_MASTER_KEY does not hold a key");
    }
    let access = match config.environment {
        Environment::Production => FileAccess::OwnerOnly,
        Environment::Development => FileAccess::Anyone,
    };
    if let Some(path) = &config.custody.master_key_file {
        return MasterKey::from_file(path, access)
            .with_context(|| format!("custody.master_key_file {} cannot be used", path.display()));
    }
    let path = config.data_dir.join(GENERATED_FILE);
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot create data_dir {}", config.data_dir.display()))?;
    let is_new = !path.exists();
    let key = MasterKey::from_file_or_create(&path, access)
        .with_context(|| format!("cannot make the master key {}", path.display()))?;
    if is_new {
        tracing::warn!(path = %path.display(), "made a master key for development: whoever has this file has the money");
    }
    Ok(key)
}
