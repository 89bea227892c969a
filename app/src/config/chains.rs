//! Chains as configuration: a new EVM chain is a table in the file and nothing else.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use serde::Deserialize;
use url::Url;
use wopay_chain_watchers::{Agreement, ByAddress};
use wopay_domain::money::MAX_DECIMALS;
use wopay_domain::{Asset, AssetId, ChainCatalog, ChainFamily, ChainName, ChainSpec};

use super::ConfigError;

/// Every chain, by name.
pub(crate) type Chains = BTreeMap<String, ChainConfig>;

/// One chain.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChainConfig {
    pub(crate) kind: ChainFamily,
    /// EIP-155 chain id; required for `kind = "evm"`.
    pub(crate) chain_id: Option<u64>,
    /// Solana: the cluster's genesis hash, base58. An endpoint of another cluster is refused; without it any is taken.
    pub(crate) genesis_hash: Option<String>,
    /// JSON-RPC endpoints, the preferred one first.
    #[serde(default)]
    pub(crate) rpc: Vec<Url>,
    /// Names of variables that hold endpoints (which carry keys).
    #[serde(default)]
    pub(crate) rpc_env: Vec<String>,
    #[serde(default)]
    pub(crate) finality: Finality,
    pub(crate) native: NativeConfig,
    #[serde(default = "default_poll_interval_ms")]
    pub(crate) poll_interval_ms: u64,
    /// The first block to look at, when the chain was never watched before.
    pub(crate) start_block: Option<u64>,
    /// EVM: the first block of the fork that logs native transfers (EIP-7708).
    pub(crate) eip7708_block: Option<u64>,
    /// EVM: how the nodes show native money that contracts send.
    #[serde(default)]
    pub(crate) traces: Traces,
    /// EVM without traces: how often the balances of open payments are compared with what was recorded, at most.
    #[serde(default = "default_balances_every_s")]
    pub(crate) balances_every_s: u32,
    /// EVM: whether final blocks are searched for tokens that are not configured. They are without it.
    pub(crate) unknown_tokens: Option<bool>,
    /// Solana: whether every block is read, or the addresses of payments are asked about.
    #[serde(default)]
    pub(crate) mode: WatchMode,
    /// With `mode = "addresses"`: how often the addresses of open payments are asked about, at most. 15 without it.
    pub(crate) addresses_every_s: Option<u32>,
    /// With `mode = "addresses"`: so long after its payment was created an address is asked about. 30 without it.
    pub(crate) addresses_days: Option<u32>,
    /// Above which amounts several endpoints must show a deposit in the same block.
    pub(crate) agreement: Option<AgreementConfig>,
    /// Calls that each endpoint may be asked in an hour.
    pub(crate) budget_per_hour: Option<NonZeroU64>,
    /// A head older than this is behind.
    #[serde(default = "default_head_age_max_s")]
    pub(crate) head_age_max_s: u32,
    /// An endpoint whose head lies more blocks than this below that of others is not asked.
    #[serde(default = "default_head_lag_max_blocks")]
    pub(crate) head_lag_max_blocks: u32,
    #[serde(default)]
    pub(crate) tokens: Vec<TokenConfig>,
}

/// See [`ChainConfig::agreement`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgreementConfig {
    /// So many endpoints.
    pub(crate) providers: usize,
    /// By symbol: the amount above which they must agree.
    pub(crate) above: BTreeMap<String, String>,
}

/// More than a week of the fastest chains. Payments keep the number for ever, and Postgres counts it in 31 bits.
const CONFIRMATIONS_MAX: u32 = 10_000_000;

const fn default_poll_interval_ms() -> u64 {
    1000
}

const fn default_head_age_max_s() -> u32 {
    60
}

const fn default_head_lag_max_blocks() -> u32 {
    20
}

const fn default_balances_every_s() -> u32 {
    15
}

/// How an EVM node shows native money that contracts send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Traces {
    /// Not at all: balances are compared.
    #[default]
    None,
    /// `debug_traceBlockByHash`.
    Debug,
    /// `trace_block`.
    Parity,
}

/// What is read of a Solana cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WatchMode {
    /// Every block.
    #[default]
    Blocks,
    /// The transactions that mention addresses of payments, for small installations.
    Addresses,
}

/// When a deposit is settled.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Finality {
    pub(crate) mode: FinalityMode,
    /// The block tag that clamps confirmations, with `mode = "tag"`.
    pub(crate) tag: FinalityTag,
    /// Confirmations that a new payment asks for.
    pub(crate) confirmations: u32,
    /// How deep a reorganization may be before the watcher halts.
    pub(crate) reorg_window: u32,
}

impl Default for Finality {
    fn default() -> Self {
        Self { mode: FinalityMode::Depth, tag: FinalityTag::Finalized, confirmations: 12, reorg_window: 128 }
    }
}

/// See [`Finality::mode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FinalityMode {
    /// Depth alone.
    Depth,
    /// Depth, and the block is not above the node's tag.
    Tag,
}

/// `safe` is not for settlement, so there is one choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FinalityTag {
    Finalized,
}

/// The native coin.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NativeConfig {
    pub(crate) symbol: String,
    pub(crate) decimals: u8,
    /// The least deposit that counts, as a decimal amount; less is dust.
    pub(crate) min_deposit: Option<String>,
}

/// A token, known by its contract or mint.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenConfig {
    pub(crate) symbol: String,
    #[serde(alias = "mint")]
    pub(crate) contract: String,
    pub(crate) decimals: u8,
    /// The least deposit that counts, as a decimal amount; less is dust.
    pub(crate) min_deposit: Option<String>,
}

/// The catalogue that the API and the watchers share.
pub(crate) fn catalog(chains: &Chains) -> Result<ChainCatalog, ConfigError> {
    let specs: Result<Vec<_>, _> = chains.iter().map(|(name, chain)| spec(name, chain)).collect();
    let specs = specs?;
    for spec in &specs {
        let Some(chain) = chains.get(spec.name.as_str()) else { continue };
        let invalid = |reason| ConfigError::Chain { chain: spec.name.to_string(), reason };
        check_agreement(spec, chain).map_err(invalid)?;
    }
    check_ids(&specs)?;
    Ok(ChainCatalog::new(specs))
}

/// One chain under two names would have each of its deposits booked twice: a deposit is known by its chain's name.
fn check_ids(specs: &[ChainSpec]) -> Result<(), ConfigError> {
    // Solana's clusters have no ids: what is sent on one would be taken for money on the other as well.
    let mut clusters = specs.iter().filter(|spec| spec.family == ChainFamily::Solana);
    if let (Some(first), Some(second)) = (clusters.next(), clusters.next()) {
        let reason = format!("is a second Solana cluster beside {}: an installation has one", first.name);
        return Err(ConfigError::Chain { chain: second.name.to_string(), reason });
    }
    let mut names = BTreeMap::new();
    for spec in specs {
        let Some(id) = spec.chain_id else { continue };
        if let Some(other) = names.insert((spec.family.as_str(), id), &spec.name) {
            let reason = format!("has the `chain_id` {id} of {other}: a chain stands here once, under one name");
            return Err(ConfigError::Chain { chain: spec.name.to_string(), reason });
        }
    }
    Ok(())
}

fn spec(name: &str, chain: &ChainConfig) -> Result<ChainSpec, ConfigError> {
    let invalid = |reason: String| ConfigError::Chain { chain: name.to_owned(), reason };
    let chain_name: ChainName = name.parse().map_err(|error| invalid(format!("{error}")))?;
    if chain.kind == ChainFamily::Evm && chain.chain_id.is_none() {
        return Err(invalid("an EVM chain needs `chain_id`".to_owned()));
    }
    if chain.kind == ChainFamily::Solana && chain.chain_id.is_some() {
        return Err(invalid("Solana has no `chain_id`: name the cluster by its `genesis_hash`".to_owned()));
    }
    if chain.kind == ChainFamily::Evm && chain.genesis_hash.is_some() {
        return Err(invalid("an EVM chain is named by its `chain_id`, not by a `genesis_hash`".to_owned()));
    }
    if chain.kind == ChainFamily::Solana
        && (chain.eip7708_block.is_some() || chain.traces != Traces::None || chain.unknown_tokens.is_some())
    {
        return Err(invalid("`eip7708_block`, `traces` and `unknown_tokens` are settings of EVM chains".to_owned()));
    }
    check_mode(chain).map_err(invalid)?;
    if chain.rpc.is_empty() {
        return Err(invalid("needs at least one endpoint in `rpc` or `rpc_env`".to_owned()));
    }
    if let Some(url) = chain.rpc.iter().find(|url| !matches!(url.scheme(), "http" | "https")) {
        return Err(invalid(format!("endpoints are http or https, got {}", url.scheme())));
    }
    if !(1..=CONFIRMATIONS_MAX).contains(&chain.finality.confirmations) {
        return Err(invalid(format!("`finality.confirmations` lies between 1 and {CONFIRMATIONS_MAX}")));
    }
    if !(1..=10_000).contains(&chain.finality.reorg_window) {
        return Err(invalid("`finality.reorg_window` lies between 1 and 10000".to_owned()));
    }
    if !(10..=600_000).contains(&chain.poll_interval_ms) {
        return Err(invalid("`poll_interval_ms` lies between 10 and 600000".to_owned()));
    }
    let assets = assets(&chain_name, chain).map_err(invalid)?;
    Ok(ChainSpec {
        min_deposits: min_deposits(&assets, chain).map_err(invalid)?,
        assets,
        name: chain_name,
        family: chain.kind,
        chain_id: chain.chain_id,
        required_confirmations: chain.finality.confirmations,
    })
}

/// Refuses a mode that the chain does not have, and settings of one that it is not in.
fn check_mode(chain: &ChainConfig) -> Result<(), String> {
    if chain.mode == WatchMode::Blocks {
        return match (chain.addresses_every_s, chain.addresses_days) {
            (None, None) => Ok(()),
            _ => Err("`addresses_every_s` and `addresses_days` belong to `mode = \"addresses\"`".to_owned()),
        };
    }
    if chain.kind == ChainFamily::Evm {
        return Err("`mode = \"addresses\"` is for Solana: an EVM chain is read block by block".to_owned());
    }
    if !(1..=3600).contains(&chain.addresses_every_s.unwrap_or(1)) {
        return Err("`addresses_every_s` lies between 1 and 3600".to_owned());
    }
    if !(1..=3650).contains(&chain.addresses_days.unwrap_or(1)) {
        return Err("`addresses_days` lies between 1 and 3650".to_owned());
    }
    Ok(())
}

/// What the watcher needs of `mode`.
pub(crate) fn by_address(chain: &ChainConfig) -> Option<ByAddress> {
    let mut by_address = match chain.mode {
        WatchMode::Blocks => return None,
        WatchMode::Addresses => ByAddress::default(),
    };
    if let Some(seconds) = chain.addresses_every_s {
        by_address.every = Duration::from_secs(u64::from(seconds));
    }
    if let Some(days) = chain.addresses_days {
        by_address.kept_for = Duration::from_secs(u64::from(days).saturating_mul(24 * 60 * 60));
    }
    Some(by_address)
}

/// Refuses an agreement that names what the chain does not have, or asks for one endpoint's agreement with itself.
fn check_agreement(spec: &ChainSpec, chain: &ChainConfig) -> Result<(), String> {
    let Some(wanted) = &chain.agreement else { return Ok(()) };
    if wanted.providers < 2 || wanted.above.is_empty() {
        return Err("`agreement` needs `providers`, at least 2, and `above`, an amount by symbol".to_owned());
    }
    for (symbol, amount) in &wanted.above {
        let asset = spec.asset_by_symbol(symbol);
        let asset = asset.ok_or_else(|| format!("`agreement.above` names {symbol}, which it does not have"))?;
        asset.parse(amount).map_err(|error| format!("`agreement.above.{symbol}`: {error}"))?;
    }
    Ok(())
}

/// What the watcher needs of `agreement`, which was checked when it was read. An amount that is none for the asset as it is
/// now stands for zero: then every deposit of it needs agreement.
pub(crate) fn agreement(spec: &ChainSpec, chain: &ChainConfig) -> Option<Agreement> {
    let wanted = chain.agreement.as_ref()?;
    let above = wanted.above.iter().filter_map(|(symbol, amount)| {
        let asset = spec.asset_by_symbol(symbol)?;
        Some((asset.id.clone(), asset.parse(amount).map_or(0, |money| money.minor())))
    });
    Some(Agreement { providers: wanted.providers, above: above.collect() })
}

fn assets(name: &ChainName, chain: &ChainConfig) -> Result<Vec<Asset>, String> {
    let native = &chain.native;
    let mut assets =
        vec![Asset { id: AssetId::native(name), symbol: native.symbol.clone(), decimals: native.decimals }];
    for token in &chain.tokens {
        assets.push(Asset {
            id: AssetId::token(name, &canonical_token(chain.kind, &token.contract)?)
                .map_err(|error| error.to_string())?,
            symbol: token.symbol.clone(),
            decimals: token.decimals,
        });
    }
    for (index, asset) in assets.iter().enumerate() {
        let symbol = &asset.symbol;
        if !(1..=10).contains(&symbol.len()) || !symbol.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("a symbol has 1 to 10 printable ASCII characters, got {symbol:?}"));
        }
        if asset.decimals > MAX_DECIMALS {
            return Err(format!("{symbol} has at most {MAX_DECIMALS} decimals, got {}", asset.decimals));
        }
        let twice = assets
            .iter()
            .skip(index.saturating_add(1))
            .any(|other| other.id == asset.id || other.symbol.eq_ignore_ascii_case(symbol));
        if twice {
            return Err(format!("{symbol} stands twice: symbols and contracts are unique on a chain"));
        }
    }
    Ok(assets)
}

/// The least that counts of each asset that names it, in minor units.
fn min_deposits(assets: &[Asset], chain: &ChainConfig) -> Result<BTreeMap<AssetId, u128>, String> {
    let named = std::iter::once(&chain.native.min_deposit).chain(chain.tokens.iter().map(|token| &token.min_deposit));
    let mut least = BTreeMap::new();
    for (asset, min_deposit) in assets.iter().zip(named) {
        let Some(text) = min_deposit else { continue };
        let money = asset.parse(text).map_err(|error| format!("`min_deposit` of {} {error}", asset.symbol))?;
        least.insert(asset.id.clone(), money.minor());
    }
    Ok(least)
}

/// What identifies a token: an EVM contract in lower case, a Solana mint as it is.
pub(crate) fn canonical_token(family: ChainFamily, token: &str) -> Result<String, String> {
    match family {
        ChainFamily::Evm => canonical_contract(token),
        ChainFamily::Solana => match bs58::decode(token).into_vec() {
            Ok(bytes) if bytes.len() == 32 => Ok(token.to_owned()),
            _ => Err(format!("a mint is 32 bytes in base58, got {token:?}")),
        },
    }
}

fn canonical_contract(contract: &str) -> Result<String, String> {
    let digits = contract.strip_prefix("0x").unwrap_or_default();
    if digits.len() == 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(contract.to_ascii_lowercase())
    } else {
        Err(format!("a contract is 0x and 40 hex digits, got {contract:?}"))
    }
}
