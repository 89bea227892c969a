//! Presets: what a chain's table need not say because everybody knows it.

use toml::{Table, Value};

use super::ConfigError;

const PRESETS: &str = include_str!("presets.toml");
/// The key in a chain's table.
const KEY: &str = "preset";

/// Completes every chain's table that names a preset. What the table says itself goes before what the preset says; its
/// tokens are added to the preset's, and replace the one of the same symbol.
///
/// # Errors
/// When there is no preset of that name.
pub(super) fn complete(table: &mut Table) -> Result<(), ConfigError> {
    let Some(chains) = table.get_mut("chains").and_then(Value::as_table_mut) else { return Ok(()) };
    for (name, chain) in chains {
        let Some(own) = chain.as_table_mut() else { continue };
        let Some(named) = own.remove(KEY) else { continue };
        let invalid = |reason: String| ConfigError::Chain { chain: name.clone(), reason };
        let named = named.as_str().ok_or_else(|| invalid("`preset` is a name".to_owned()))?.to_owned();
        let mut presets = presets();
        let Some(Value::Table(preset)) = presets.remove(&named) else {
            let names: Vec<&str> = presets.keys().map(String::as_str).collect();
            return Err(invalid(format!("there is no preset {named:?}; there are {}", names.join(", "))));
        };
        lay_under(own, preset);
    }
    Ok(())
}

fn presets() -> Table {
    PRESETS.parse().expect("a test reads every preset")
}

fn lay_under(own: &mut Table, preset: Table) {
    for (key, known) in preset {
        match (own.get_mut(&key), known) {
            (None, known) => {
                own.insert(key, known);
            }
            (Some(Value::Table(own)), Value::Table(known)) => {
                for (key, value) in known {
                    own.entry(key).or_insert(value);
                }
            }
            (Some(Value::Array(own)), Value::Array(known)) if key == "tokens" => {
                let symbol = |token: &Value| token.get("symbol").and_then(Value::as_str).map(str::to_ascii_uppercase);
                let named: Vec<_> = own.iter().map(symbol).collect();
                own.extend(known.into_iter().filter(|token| !named.contains(&symbol(token))));
            }
            (Some(_), _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

    use super::*;

    #[test]
    fn every_preset_is_a_chain_once_it_has_an_endpoint() {
        for name in presets().keys() {
            let text = format!("[chains.{name}]\npreset = \"{name}\"\nrpc = [\"https://node.example\"]\n");
            let mut file = tempfile::NamedTempFile::new().unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
            let loaded = super::super::load::load(Some(file.path()), &std::collections::BTreeMap::new()).unwrap();
            let chain = loaded.catalog.get(name).unwrap();
            assert_eq!(chain.assets.len(), 3, "{name}: native, USDT, USDC");
            let decimals = if name == "bsc" { 18 } else { 6 };
            for symbol in ["USDT", "USDC"] {
                assert_eq!(chain.asset_by_symbol(symbol).unwrap().decimals, decimals, "{symbol} on {name}");
            }
        }
    }

    /// A typing error in an address shows by EIP-55's checksum.
    #[test]
    fn contracts_are_written_with_their_checksum() {
        for (name, preset) in presets() {
            for token in preset["tokens"].as_array().unwrap() {
                let Some(contract) = token.get("contract").and_then(Value::as_str) else { continue };
                assert_eq!(wopay_api::display_address(&contract.to_lowercase()), contract, "{name}");
            }
        }
    }

    #[test]
    fn a_table_goes_before_its_preset() {
        let mut table: Table = r#"
            [chains.bsc]
            preset = "bsc"
            rpc = ["https://node.example"]
            finality = { confirmations = 3 }
            tokens = [{ symbol = "usdt", contract = "0x0000000000000000000000000000000000000001", decimals = 2 },
                      { symbol = "XYZ", contract = "0x0000000000000000000000000000000000000002", decimals = 4 }]
        "#
        .parse()
        .unwrap();
        complete(&mut table).unwrap();
        let bsc = &table["chains"]["bsc"];
        assert!(bsc.get(KEY).is_none());
        assert_eq!(bsc["finality"]["confirmations"].as_integer(), Some(3));
        assert_eq!(bsc["finality"]["tag"].as_str(), Some("finalized"));
        let symbols: Vec<_> =
            bsc["tokens"].as_array().unwrap().iter().map(|token| token["symbol"].as_str().unwrap()).collect();
        assert_eq!(symbols, ["usdt", "XYZ", "USDC"]);
    }

    #[test]
    fn an_unknown_preset_is_refused_with_those_there_are() {
        let mut table: Table = "[chains.x]\npreset = \"dogecoin\"".parse().unwrap();
        let error = complete(&mut table).unwrap_err().to_string();
        assert!(error.contains("dogecoin") && error.contains("avalanche, base, bsc"), "{error}");
    }
}
