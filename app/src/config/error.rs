//! Why a configuration is refused. Each says what to change.

use std::path::PathBuf;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the configuration file {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is not valid TOML")]
    Syntax {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
    #[error("the configuration is refused: {0}")]
    Shape(#[source] Box<toml::de::Error>),
    #[error("the variable {name} is refused: {reason}")]
    Variable { name: String, reason: String },
    #[error("[chains.{chain}] is refused: {reason}")]
    Chain { chain: String, reason: String },
    #[error("refused with environment = \"production\":\n{}", .0.iter().map(|line| format!("  - {line}")).collect::<Vec<_>>().join("\n"))]
    Production(Vec<String>),
}
