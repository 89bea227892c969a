#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::collections::BTreeMap;
use std::io::Write as _;

use super::load::load;
use super::{ConfigError, Environment, Loaded, by_address};

/// The example of the design, with a key that arrives by variable.
const EXAMPLE: &str = r#"
environment = "development"
listen = "127.0.0.1:8080"

[webhooks]
allow_networks = ["127.0.0.0/8"]

[chains.ethereum]
kind = "evm"
chain_id = 1
rpc = ["https://node.example/a"]
rpc_env = ["ETH_RPC_B"]
finality = { mode = "tag", tag = "finalized", confirmations = 12, reorg_window = 128 }
native = { symbol = "ETH", decimals = 18 }
poll_interval_ms = 1000
[[chains.ethereum.tokens]]
symbol = "USDT"
contract = "0xdAC17F958D2ee523a2206206994597C13D831ec7"
decimals = 6

[chains.solana]
kind = "solana"
rpc = ["https://node.example/s"]
native = { symbol = "SOL", decimals = 9 }
[[chains.solana.tokens]]
symbol = "USDC"
mint = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
decimals = 6
"#;

#[test]
fn the_least_deposit_is_an_amount_of_the_asset() {
    let text = EXAMPLE.replace("decimals = 18 }", "decimals = 18, min_deposit = \"0.0001\" }").replacen(
        "decimals = 6\n",
        "decimals = 6\nmin_deposit = \"0.5\"\n",
        1,
    );
    let loaded = load_text(&text, &[("ETH_RPC_B", "https://node.example/b")]).unwrap();
    let ethereum = loaded.catalog.get("ethereum").unwrap();
    let least = |symbol: &str| ethereum.min_deposit(&ethereum.asset_by_symbol(symbol).unwrap().id);
    assert_eq!((least("ETH"), least("USDT")), (100_000_000_000_000, 500_000));
    assert_eq!(loaded.catalog.get("solana").unwrap().min_deposits.len(), 0, "everything counts where nothing is said");
    let wrong = text.replace("\"0.5\"", "\"0.5000001\"");
    let error = load_text(&wrong, &[("ETH_RPC_B", "https://node.example/b")]).err().unwrap().to_string();
    assert!(error.contains("`min_deposit` of USDT"), "{error}");
}

fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let variables: BTreeMap<String, String> =
        variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    load(Some(file.path()), &variables)
}

fn whole_error(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[test]
fn the_example_of_the_design_is_read() {
    let loaded = load_text(EXAMPLE, &[("ETH_RPC_B", "https://node.example/b?key=secret")]).unwrap();
    let ethereum = loaded.catalog.get("ethereum").unwrap();
    assert_eq!(ethereum.chain_id, Some(1));
    assert_eq!(ethereum.required_confirmations, 12);
    let usdt = ethereum.asset_by_symbol("usdt").unwrap();
    assert_eq!(usdt.id.as_str(), "ethereum/0xdac17f958d2ee523a2206206994597c13d831ec7");
    assert_eq!(loaded.config.chains["ethereum"].rpc.len(), 2);
    let usdc = loaded.catalog.get("solana").unwrap().asset_by_symbol("USDC").unwrap();
    assert_eq!(usdc.id.as_str(), "solana/EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "base58 keeps its letters");
}

#[test]
fn solana_is_told_by_its_genesis_and_stands_once() {
    let refused = |from: &str, to: &str| {
        let text = EXAMPLE.replace(from, to);
        assert_ne!(text, EXAMPLE, "{from}");
        whole_error(&load_text(&text, &[("ETH_RPC_B", "https://node.example/b")]).unwrap_err())
    };
    let error = refused("kind = \"solana\"\n", "kind = \"solana\"\nchain_id = 101\n");
    assert!(error.contains("solana") && error.contains("genesis_hash"), "{error}");
    let error =
        refused("chain_id = 1\n", "chain_id = 1\ngenesis_hash = \"5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d\"\n");
    assert!(error.contains("chain_id"), "{error}");
    let error = refused("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "0xdAC17F958D2ee523a2206206994597C13D831ec7");
    assert!(error.contains("32 bytes in base58"), "{error}");
    let second = "[chains.devnet]\nkind = \"solana\"\nrpc = [\"https://node.example/d\"]\n\
                  native = { symbol = \"SOL\", decimals = 9 }\n[chains.solana]\n";
    assert!(refused("[chains.solana]\n", second).contains("second Solana cluster"));
}

#[test]
fn a_small_installation_asks_about_addresses() {
    let read = |lines: &str, variables: &[(&str, &str)]| {
        let text = EXAMPLE.replace("kind = \"solana\"\n", &format!("kind = \"solana\"\n{lines}\n"));
        let variables = [&[("ETH_RPC_B", "https://node.example/b")], variables].concat();
        load_text(&text, &variables).map(|loaded| by_address(&loaded.config.chains["solana"]))
    };
    assert_eq!(read("", &[]).unwrap(), None);
    let usual = read("mode = \"addresses\"", &[]).unwrap().unwrap();
    assert_eq!((usual.every.as_secs(), usual.kept_for.as_secs()), (15, 30 * 24 * 60 * 60));
    let set = [("WOPAY_CHAINS_SOLANA_MODE", "addresses"), ("WOPAY_CHAINS_SOLANA_ADDRESSES_DAYS", "7")];
    let other = read("addresses_every_s = 20", &set).unwrap().unwrap();
    assert_eq!((other.every.as_secs(), other.kept_for.as_secs()), (20, 7 * 24 * 60 * 60));
    for (lines, expected) in [
        ("addresses_days = 7", "belong to `mode = \"addresses\"`"),
        ("mode = \"addresses\"\naddresses_every_s = 0", "`addresses_every_s` lies between"),
        ("mode = \"addresses\"\naddresses_days = 4000", "`addresses_days` lies between"),
    ] {
        let error = whole_error(&read(lines, &[]).unwrap_err());
        assert!(error.contains("solana") && error.contains(expected), "{error}");
    }
}

#[test]
fn searching_for_unknown_tokens_is_turned_off_on_evm_chains_only() {
    let read = |chain: &str, variables: &[(&str, &str)]| {
        let text =
            EXAMPLE.replace(&format!("kind = \"{chain}\"\n"), &format!("kind = \"{chain}\"\nunknown_tokens = false\n"));
        let variables = [&[("ETH_RPC_B", "https://node.example/b")], variables].concat();
        let loaded = load_text(&text, &variables)?;
        Ok::<_, ConfigError>(loaded.config.chains["ethereum"].unknown_tokens)
    };
    assert_eq!((read("neither", &[]).unwrap(), read("evm", &[]).unwrap()), (None, Some(false)));
    let variable = [("WOPAY_CHAINS_ETHEREUM_UNKNOWN_TOKENS", "false")];
    assert_eq!(read("neither", &variable).unwrap(), Some(false));
    let error = whole_error(&read("solana", &[]).unwrap_err());
    assert!(error.contains("`unknown_tokens` are settings of EVM chains"), "{error}");
}

#[test]
fn without_a_file_there_are_defaults() {
    let loaded = load_text("", &[]).unwrap();
    assert_eq!(loaded.config.environment, Environment::Development);
    assert_eq!(loaded.config.base_url(), "http://127.0.0.1:8080");
}

#[test]
fn every_key_can_be_set_by_a_variable() {
    let loaded = load_text(
        EXAMPLE,
        &[
            ("ETH_RPC_B", "https://node.example/b"),
            ("WOPAY_LISTEN", "127.0.0.1:9999"),
            ("WOPAY_DATABASE_URL", "postgres://u:p@127.0.0.1/x"),
            ("WOPAY_DATABASE_OWNER_URL", "postgres://o:p@127.0.0.1/x"),
            ("WOPAY_CUSTODY_ADDRESS_POOL", "77"),
            ("WOPAY_CUSTODY_MASTER_KEY_FILE", "/run/secrets/key"),
            ("WOPAY_WEBHOOKS_ALLOW_NETWORKS", "10.0.0.0/8, fd00::/8"),
            ("WOPAY_CHAINS_ETHEREUM_RPC", "http://127.0.0.1:1,http://127.0.0.1:2"),
            ("WOPAY_CHAINS_ETHEREUM_FINALITY", "{ mode = \"depth\", confirmations = 3 }"),
            ("WOPAY_CHAINS_ETHEREUM_POLL_INTERVAL_MS", "100"),
            ("WOPAY_TEST_ANYTHING", "is not ours"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    let config = &loaded.config;
    assert_eq!(config.listen.port(), 9999);
    assert_eq!(config.database_url.as_deref(), Some("postgres://u:p@127.0.0.1/x"));
    assert_eq!(config.database_owner_url.as_deref(), Some("postgres://o:p@127.0.0.1/x"));
    assert_eq!(config.custody.address_pool, 77);
    assert_eq!(config.custody.master_key_file.as_deref(), Some(std::path::Path::new("/run/secrets/key")));
    assert_eq!(config.webhooks.allow_networks.len(), 2);
    let ethereum = &config.chains["ethereum"];
    assert_eq!(ethereum.rpc.first().unwrap().as_str(), "http://127.0.0.1:1/");
    assert_eq!((ethereum.finality.confirmations, ethereum.poll_interval_ms), (3, 100));
}

#[test]
fn a_chain_may_come_from_variables_alone() {
    let loaded = load_text(
        "",
        &[
            ("WOPAY_CHAINS_MY_CHAIN_KIND", "evm"),
            ("WOPAY_CHAINS_MY_CHAIN_CHAIN_ID", "5"),
            ("WOPAY_CHAINS_MY_CHAIN_RPC", "http://127.0.0.1:1"),
            ("WOPAY_CHAINS_MY_CHAIN_NATIVE", "{ symbol = \"X\", decimals = 18 }"),
        ],
    )
    .unwrap();
    assert_eq!(loaded.catalog.get("my-chain").unwrap().chain_id, Some(5));
}

#[test]
fn an_owner_alone_is_refused() {
    let error = load_text("", &[("WOPAY_DATABASE_OWNER_URL", "postgres://o:p@127.0.0.1/x")]).unwrap_err();
    assert!(whole_error(&error).contains("needs database_url"), "{}", whole_error(&error));
}

#[test]
fn mistakes_are_named() {
    let chain =
        |line: &str| format!("[chains.x]\nkind = \"evm\"\nnative = {{ symbol = \"X\", decimals = 18 }}\n{line}\n");
    let endpoint = "chain_id = 1\nrpc = [\"http://127.0.0.1:1\"]";
    let token = |contract: &str, symbol: &str| {
        format!(
            "{}\n[[chains.x.tokens]]\nsymbol = \"{symbol}\"\ndecimals = 6\ncontract = \"{contract}\"",
            chain(endpoint)
        )
    };
    let zero = "0x0000000000000000000000000000000000000001";
    for (text, expected) in [
        ("lissten = 1".to_owned(), "unknown field `lissten`"),
        ("listen = \"nowhere\"".to_owned(), "invalid socket address"),
        ("listen = ".to_owned(), "not valid TOML"),
        ("ledger = \"Main\"".to_owned(), "a ledger's name has"),
        ("[custody]\nmaster_key = \"00\"".to_owned(), "unknown field `master_key`"),
        (chain("rpc = [\"http://127.0.0.1:1\"]"), "needs `chain_id`"),
        (chain("chain_id = 1"), "at least one endpoint"),
        (chain("chain_id = 1\nrpc = [\"ws://127.0.0.1:1\"]"), "endpoints are http or https"),
        (chain("chain_id = 1\nrpc_env = [\"NOT_THERE\"]"), "names NOT_THERE, which is not set"),
        (chain(&format!("{endpoint}\nfinality = {{ confirmations = 0 }}")), "lies between 1 and"),
        (chain(&format!("{endpoint}\nfinality = {{ confirmations = 3_000_000_000 }}")), "lies between 1 and"),
        (format!("{}{}", chain(endpoint), chain(endpoint).replace("[chains.x]", "[chains.y]")), "`chain_id` 1 of x"),
        (chain(&format!("{endpoint}\nfinality = {{ mode = \"tag\", tag = \"safe\" }}")), "unknown variant `safe`"),
        (chain(&format!("{endpoint}\npoll_interval_ms = 1")), "`poll_interval_ms` lies between"),
        (chain(&format!("{endpoint}\nmode = \"addresses\"")), "is for Solana: an EVM chain is read block by block"),
        (chain(&format!("{endpoint}\nmode = \"slots\"")), "unknown variant `slots`"),
        (token("0x12", "USDT"), "40 hex digits"),
        (token(zero, "x"), "stands twice"),
        (token(zero, "MUCH-TOO-LONG"), "1 to 10"),
        (chain(endpoint).replace("[chains.x]", "[chains.\"Not A Name\"]"), "a chain name has"),
    ] {
        let error = load_text(&text, &[]).unwrap_err();
        assert!(whole_error(&error).contains(expected), "{text}\n→ {}", whole_error(&error));
    }
}

#[test]
fn mistaken_variables_are_named() {
    for (name, value, expected) in [
        ("WOPAY_LISTEM", "x", "no key of the configuration has this name"),
        ("WOPAY_CUSTODY_ADDRESS_POOL", "many", "must be a TOML value"),
        ("WOPAY_CHAINS_X_NOTHING", "1", "no key of the configuration has this name"),
    ] {
        let error = whole_error(&load_text("", &[(name, value)]).unwrap_err());
        assert!(error.contains(name) && error.contains(expected), "{error}");
    }
}

#[test]
fn a_file_that_was_named_must_exist() {
    let error = load(Some(std::path::Path::new("/nowhere/wopay.toml")), &BTreeMap::new()).unwrap_err();
    assert!(error.to_string().contains("/nowhere/wopay.toml"));
}

#[test]
fn production_refuses_what_is_weak_and_says_all_of_it() {
    let text = "environment = \"production\"\n[webhooks]\nallow_networks = [\"127.0.0.0/8\"]\n";
    let error = load_text(text, &[]).unwrap_err().to_string();
    for part in ["allow_networks", "public_url"] {
        assert!(error.contains(part), "{error}");
    }
    let strong = "environment = \"production\"\npublic_url = \"https://pay.example\"\n";
    let loaded = load_text(strong, &[("WOPAY_CUSTODY_MASTER_KEY", "00")]).unwrap();
    assert!(!format!("{:?}", loaded.config).contains("\"00\""), "secrets are not printed");
}
