//! Variables over keys: `WOPAY_CUSTODY_ADDRESS_POOL` sets `custody.address_pool`, `WOPAY_CHAINS_BSC_RPC` sets
//! `chains.bsc.rpc`. Names are matched against the known keys, since `_` both separates and belongs to names.

use toml::{Table, Value};

use super::ConfigError;

const PREFIX: &str = "WOPAY_";

/// Variables that start with the prefix and are not settings: the tests' own, and the secret that never enters a file.
const NOT_SETTINGS: [&str; 3] = ["TEST_", "CUSTODY_MASTER_KEY", "CI_"];

/// How a variable's text becomes a value.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// Elements separated by commas.
    List,
    /// A TOML value: number, boolean, table, array of tables.
    Toml,
}

const KEYS: [(&[&str], Kind); 18] = [
    (&["environment"], Kind::Text),
    (&["listen"], Kind::Text),
    (&["public_url"], Kind::Text),
    (&["data_dir"], Kind::Text),
    (&["database_url"], Kind::Text),
    (&["database_owner_url"], Kind::Text),
    (&["nats_url"], Kind::Text),
    (&["ledger"], Kind::Text),
    (&["custody", "master_key_file"], Kind::Text),
    (&["custody", "address_pool"], Kind::Toml),
    (&["custody", "address_lease"], Kind::Toml),
    (&["custody", "treasury"], Kind::Toml),
    (&["webhooks", "allow_networks"], Kind::List),
    (&["audit", "origin"], Kind::Text),
    (&["audit", "checkpoint_file"], Kind::Text),
    (&["log", "format"], Kind::Text),
    (&["log", "filter"], Kind::Text),
    (&["chains"], Kind::Toml),
];

const CHAIN_KEYS: [(&str, Kind); 22] = [
    ("preset", Kind::Text),
    ("genesis_hash", Kind::Text),
    ("kind", Kind::Text),
    ("chain_id", Kind::Toml),
    ("rpc", Kind::List),
    ("rpc_env", Kind::List),
    ("finality", Kind::Toml),
    ("native", Kind::Toml),
    ("poll_interval_ms", Kind::Toml),
    ("start_block", Kind::Toml),
    ("eip7708_block", Kind::Toml),
    ("traces", Kind::Text),
    ("balances_every_s", Kind::Toml),
    ("unknown_tokens", Kind::Toml),
    ("mode", Kind::Text),
    ("addresses_every_s", Kind::Toml),
    ("addresses_days", Kind::Toml),
    ("agreement", Kind::Toml),
    ("budget_per_hour", Kind::Toml),
    ("head_age_max_s", Kind::Toml),
    ("head_lag_max_blocks", Kind::Toml),
    ("tokens", Kind::Toml),
];

/// Lays the variables over the file's table.
pub(super) fn overlay(
    table: &mut Table,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<(), ConfigError> {
    for (name, text) in variables {
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        if NOT_SETTINGS.iter().any(|prefix| key.starts_with(prefix) && !key.ends_with("_FILE")) {
            continue;
        }
        let refused = |reason: String| ConfigError::Variable { name: name.clone(), reason };
        let (path, kind) = find(key).ok_or_else(|| refused("no key of the configuration has this name".to_owned()))?;
        let value = parse(kind, &text).map_err(&refused)?;
        set(table, &path, value).map_err(&refused)?;
    }
    Ok(())
}

fn find(key: &str) -> Option<(Vec<String>, Kind)> {
    let key = key.to_ascii_lowercase();
    if let Some((path, kind)) = KEYS.iter().find(|(path, _)| path.join("_") == key) {
        return Some((path.iter().map(|&part| part.to_owned()).collect(), *kind));
    }
    let chain_key = key.strip_prefix("chains_")?;
    // The longest key wins: `rpc_env` before `rpc` of a chain named `…_env` would be read otherwise.
    let (name, field, kind) = CHAIN_KEYS
        .iter()
        .filter_map(|&(field, kind)| Some((chain_key.strip_suffix(field)?.strip_suffix('_')?, field, kind)))
        .max_by_key(|(_, field, _)| field.len())?;
    Some((vec!["chains".to_owned(), name.replace('_', "-"), field.to_owned()], kind))
}

fn parse(kind: Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::Text => Ok(Value::String(text.to_owned())),
        Kind::List => {
            let elements = text.split(',').map(str::trim).filter(|element| !element.is_empty());
            Ok(Value::Array(elements.map(|element| Value::String(element.to_owned())).collect()))
        }
        Kind::Toml => {
            let mut table: Table = format!("value = {text}").parse().map_err(|_| "must be a TOML value".to_owned())?;
            table.remove("value").ok_or_else(|| "must be a TOML value".to_owned())
        }
    }
}

fn set(table: &mut Table, path: &[String], value: Value) -> Result<(), String> {
    let Some((last, parents)) = path.split_last() else { return Ok(()) };
    let mut current = table;
    for part in parents {
        let entry = current.entry(part.clone()).or_insert_with(|| Value::Table(Table::new()));
        current = entry.as_table_mut().ok_or_else(|| format!("`{part}` is not a table in the file"))?;
    }
    current.insert(last.clone(), value);
    Ok(())
}
