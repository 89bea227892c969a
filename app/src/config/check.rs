//! What no type can say: production refuses what is fit for development only.

use super::{Config, ConfigError, Environment};

/// # Errors
/// Every weakness at once, so that one start is enough to learn them all.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let ledger_ok = (1..=32).contains(&config.ledger.len())
        && config.ledger.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if !ledger_ok {
        let reason = "a ledger's name has 1 to 32 characters of a-z, 0-9 and '_'".to_owned();
        return Err(ConfigError::Variable { name: "ledger".to_owned(), reason });
    }
    if config.database_owner_url.is_some() && config.database_url.is_none() {
        let reason = "it needs database_url beside it, with the role that the application runs as".to_owned();
        return Err(ConfigError::Variable { name: "database_owner_url".to_owned(), reason });
    }
    let origin = config.audit_origin();
    if origin.is_empty() || origin.chars().any(char::is_whitespace) || origin.contains('+') {
        let reason = "a log's name is not empty and holds no white space and no '+'".to_owned();
        return Err(ConfigError::Variable { name: "audit.origin".to_owned(), reason });
    }
    if config.environment == Environment::Development {
        return Ok(());
    }
    let mut weaknesses = Vec::new();
    if !config.webhooks.allow_networks.is_empty() {
        weaknesses.push("webhooks.allow_networks lets plain HTTP receivers in: leave it empty".to_owned());
    }
    if config.public_url.as_ref().is_none_or(|url| url.scheme() != "https") {
        weaknesses.push("public_url must be an https:// URL: checkout links point there".to_owned());
    }
    for (name, chain) in &config.chains {
        let plain = chain.rpc.iter().find(|url| url.scheme() == "http" && !is_loopback(url));
        if plain.is_some() {
            weaknesses.push(format!("chains.{name}.rpc has a plain http:// endpoint beyond this machine"));
        }
    }
    if weaknesses.is_empty() { Ok(()) } else { Err(ConfigError::Production(weaknesses)) }
}

fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
