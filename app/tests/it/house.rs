//! Who may import whom.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What each crate may import of ours. Tests may import more.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("domain", &[]),
    ("vault", &[]),
    ("private-services", &[]),
    ("eventbus", &["domain"]),
    ("commands", &["domain", "eventbus"]),
    ("projections", &["domain", "eventbus", "vault"]),
    ("audit", &["domain", "eventbus", "vault"]),
    ("custody", &["domain", "vault"]),
    ("chain-watchers", &["domain", "eventbus"]),
    ("webhooks", &["domain", "eventbus", "vault"]),
    ("api", &["domain", "commands", "projections", "audit", "webhooks"]),
    ("testkit", &["private-services"]),
    ("example-chain-family", &["domain", "chain-watchers"]),
    (
        "app",
        &[
            "domain",
            "vault",
            "eventbus",
            "commands",
            "projections",
            "audit",
            "custody",
            "chain-watchers",
            "webhooks",
            "api",
            "private-services",
        ],
    ),
    (
        "bench",
        &[
            "domain",
            "eventbus",
            "commands",
            "chain-watchers",
            "projections",
            "audit",
            "custody",
            "vault",
            "private-services",
        ],
    ),
];

fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().no_deps().other_options(vec!["--offline".to_owned()]).exec().unwrap();
    let ours = |name: &str| name.strip_prefix("wopay-").map(str::to_owned);
    metadata
        .packages
        .iter()
        .map(|package| {
            let normal = package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
            let imports = normal.filter_map(|dependency| ours(&dependency.name)).collect();
            (ours(&package.name).expect("our packages are called wopay-…"), imports)
        })
        .collect()
}

#[test]
fn nobody_imports_what_they_may_not() {
    let imports = imports();
    let known: BTreeSet<_> = ALLOWED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(imports.keys().cloned().collect::<BTreeSet<_>>(), known, "a new crate needs a line in this test");
    for (name, allowed) in ALLOWED {
        let allowed: BTreeSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        let forbidden: Vec<_> = imports[name].difference(&allowed).collect();
        assert!(forbidden.is_empty(), "{name} must not import {forbidden:?}");
    }
}

#[test]
fn each_table_is_written_by_one_crate() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut writers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, _) in ALLOWED.iter().filter(|(name, _)| !matches!(*name, "testkit" | "bench" | "example-chain-family")) {
        for file in rust_files(&root.join(name).join("src")) {
            let text = std::fs::read_to_string(&file).unwrap();
            for table in written_tables(&text) {
                writers.entry(table).or_default().insert((*name).to_owned());
            }
        }
    }
    let shared: Vec<_> = writers.iter().filter(|(_, crates)| crates.len() > 1).collect();
    assert!(shared.is_empty(), "tables with more than one writer: {shared:?}");
    for table in ["follower_checkpoints", "payments", "address_pool", "chain_heads", "webhook_logs", "secrets"] {
        assert!(writers.contains_key(table), "the scan misses {table}: it found {:?}", writers.keys());
    }
}

fn rust_files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The tables that the SQL of a source file inserts into, updates or deletes from.
fn written_tables(text: &str) -> BTreeSet<String> {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c == '"').filter(|word| !word.is_empty()).collect();
    let name = |word: &str| -> Option<String> {
        let name: String = word.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
        (!name.is_empty()).then_some(name)
    };
    let after = |first: &'static str, second: &'static str| {
        words.windows(3).filter(move |w| w[0] == first && w[1] == second).filter_map(move |w| name(w[2]))
    };
    let updated = words.windows(3).filter(|w| w[0] == "UPDATE" && w[2] == "SET").filter_map(|w| name(w[1]));
    after("INSERT", "INTO").chain(after("DELETE", "FROM")).chain(updated).collect()
}
