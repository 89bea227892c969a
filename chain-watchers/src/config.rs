//! How a chain is watched. Plain values; the application builds them from its configuration file.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use url::Url;
use wopay_domain::{AssetId, ChainFamily, ChainName, ChainSpec};

/// How one chain is watched.
#[derive(Clone)]
pub struct WatcherConfig {
    /// Name, chain id, assets, and the confirmations that apply to money a payment did not ask for on this chain
    /// (what it asks for is confirmed as its own claim says).
    pub chain: ChainSpec,
    /// Assets that nodes are not asked about: they were, when they were added. The engine names its tokens here; what a
    /// token's contract says of itself later does not stop the chain.
    pub verified: BTreeSet<AssetId>,
    /// Solana: base58 of the cluster's genesis hash; an endpoint of another cluster is refused. `None`: not asked.
    pub genesis_hash: Option<String>,
    /// HTTP JSON-RPC endpoints in order of preference, at least one. May hold credentials; never shown.
    pub rpc: Vec<Url>,
    /// When a deposit is final.
    pub finality: Finality,
    /// Blocks that a reorganization may be deep. A deeper one halts the chain. At least 1.
    pub reorg_window: u32,
    /// Pause between two looks at the head.
    pub poll_interval: Duration,
    /// First block to process when this chain is watched for the first time. Without it the first run begins `lookback`
    /// blocks below the head, or, if that is earlier, some minutes before the oldest payment that asks for money on this
    /// chain. What was sent on this chain to payments of others before is seen only if this block is named.
    pub start_block: Option<u64>,
    /// See `start_block`.
    pub lookback: u32,
    /// Limits of the endpoints' clients, and how endpoints are compared.
    pub rpc_options: RpcOptions,
    /// Above which amounts several endpoints must show a deposit in the same block before it is confirmed.
    pub agreement: Option<Agreement>,
    /// What EVM chains differ in.
    pub evm: EvmOptions,
    /// Solana: ask about the addresses of payments instead of reading every block. `None`: every block is read.
    pub by_address: Option<ByAddress>,
}

impl WatcherConfig {
    /// Depth 128 for window and lookback, a look every second, finality by depth.
    #[must_use]
    pub fn new(chain: ChainSpec, rpc: Vec<Url>) -> Self {
        Self {
            chain,
            verified: BTreeSet::new(),
            genesis_hash: None,
            rpc,
            finality: Finality::Depth,
            reorg_window: 128,
            poll_interval: Duration::from_secs(1),
            start_block: None,
            lookback: 128,
            rpc_options: RpcOptions::default(),
            agreement: None,
            evm: EvmOptions::default(),
            by_address: None,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let chain = || self.chain.name.clone();
        if self.rpc.is_empty() {
            return Err(ConfigError::NoEndpoint { chain: chain() });
        }
        if self.rpc.iter().any(|url| !matches!(url.scheme(), "http" | "https")) {
            return Err(ConfigError::NotHttp { chain: chain() });
        }
        if self.reorg_window == 0 {
            return Err(ConfigError::NoWindow { chain: chain() });
        }
        if self.chain.family == ChainFamily::Evm && self.chain.chain_id.is_none() {
            return Err(ConfigError::NoChainId { chain: chain() });
        }
        if self.chain.family == ChainFamily::Evm && self.by_address.is_some() {
            return Err(ConfigError::NotByAddress { chain: chain() });
        }
        Ok(())
    }
}

impl fmt::Debug for WatcherConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.rpc.iter().map(|url| url.host_str().unwrap_or_default()).collect();
        f.debug_struct("WatcherConfig")
            .field("chain", &self.chain)
            .field("verified", &self.verified)
            .field("genesis_hash", &self.genesis_hash)
            .field("rpc_hosts", &hosts)
            .field("finality", &self.finality)
            .field("reorg_window", &self.reorg_window)
            .field("poll_interval", &self.poll_interval)
            .field("start_block", &self.start_block)
            .field("lookback", &self.lookback)
            .field("rpc_options", &self.rpc_options)
            .field("agreement", &self.agreement)
            .field("evm", &self.evm)
            .field("by_address", &self.by_address)
            .finish()
    }
}

/// When a deposit is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finality {
    /// As deep as its payment asks. The node's tags are not looked at.
    Depth,
    /// As deep as its payment asks *and* not above the block that the node gives for this tag. A node that knows no such
    /// block confirms nothing. (A local anvil moves `finalized` 64 blocks behind its head, so few confirmations are then
    /// not enough: use [`Finality::Depth`] there.)
    Tag(FinalityTag),
}

/// A block tag of EVM nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalityTag {
    /// Reverting it would cost a third of the stake.
    Finalized,
    /// Unlikely to be reverted; not meant for settlement.
    Safe,
}

impl FinalityTag {
    /// `finalized` or `safe`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finalized => "finalized",
            Self::Safe => "safe",
        }
    }
}

impl FromStr for FinalityTag {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "finalized" => Ok(Self::Finalized),
            "safe" => Ok(Self::Safe),
            other => Err(ConfigError::UnknownTag { tag: other.to_owned() }),
        }
    }
}

/// Limits of the clients that talk to a chain's endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcOptions {
    /// To open a connection.
    pub connect_timeout: Duration,
    /// For one call, answer included.
    pub request_timeout: Duration,
    /// The largest answer taken, in bytes.
    pub response_bytes_max: usize,
    /// Blocks read at the same time while catching up.
    pub concurrency: usize,
    /// A head older than this is behind: another endpoint is asked, and without one the chain's state says so.
    pub head_age_max: Duration,
    /// With several endpoints: one whose head lies more blocks than this below that of others is not asked.
    pub head_lag_max: u64,
    /// With several endpoints: how often all are asked for their heads, to be compared.
    pub compare_every: Duration,
    /// Calls that each endpoint may be asked in an hour; a call inside a batch is a call. `None`: any number.
    pub budget_per_hour: Option<u64>,
}

/// Above which amounts one endpoint's word is not enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// So many endpoints must show the same, the one in use included. With fewer configured, deposits above the amounts
    /// are never confirmed.
    pub providers: usize,
    /// Assets, each with the minor units above which its deposits need agreement.
    pub above: Vec<(AssetId, u128)>,
}

impl Default for RpcOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(10),
            response_bytes_max: 64 * 1024 * 1024,
            concurrency: 8,
            head_age_max: Duration::from_secs(60),
            head_lag_max: 20,
            compare_every: Duration::from_secs(15),
            budget_per_hour: None,
        }
    }
}

/// How a chain is watched of which only the addresses of payments are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByAddress {
    /// How often the addresses of open payments are asked about, at most.
    pub every: Duration,
    /// So long after its payment was opened an address is asked about at all, if the payment is no longer open.
    pub kept_for: Duration,
    /// The most transactions that a node lists at once, at least 2.
    pub page: usize,
    /// A node lists a transaction at most so many slots after its block: what lies above is listed again, and the cursor
    /// stays so far below what was looked at.
    pub listed_within: u64,
}

impl Default for ByAddress {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(15),
            kept_for: Duration::from_secs(30 * 24 * 60 * 60),
            page: 1000,
            listed_within: 150,
        }
    }
}

/// How native money is found on an EVM chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvmOptions {
    /// The first block of the fork that writes a log for every native transfer (EIP-7708). From there native money is
    /// taken from those logs and from nothing else; below it, never from them.
    pub eip7708_block: Option<u64>,
    /// How the nodes show what contracts do inside a transaction.
    pub traces: Traces,
    /// Without traces: how often the native balances of open payments are compared with what was recorded, at most.
    pub balances_every: Duration,
    /// Whether final blocks are searched for tokens that nobody configured, sent to addresses of payments.
    pub unknown_tokens: bool,
}

impl Default for EvmOptions {
    fn default() -> Self {
        Self {
            eip7708_block: None,
            traces: Traces::None,
            balances_every: Duration::from_secs(15),
            unknown_tokens: true,
        }
    }
}

/// How an EVM node shows native money that contracts send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traces {
    /// Not at all: balances are compared instead.
    None,
    /// `debug_traceBlockByHash` with the `callTracer` (geth, reth, Erigon, Nethermind).
    Debug,
    /// `trace_block` (Erigon, reth, Nethermind, OpenEthereum).
    Parity,
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nothing to talk to.
    #[error("chain {chain} has no rpc endpoint")]
    NoEndpoint {
        /// The chain.
        chain: ChainName,
    },
    /// Endpoints are polled over HTTP.
    #[error("chain {chain}: an rpc endpoint must be an http or https URL")]
    NotHttp {
        /// The chain.
        chain: ChainName,
    },
    /// A window of no block.
    #[error("chain {chain}: reorg_window must be at least 1")]
    NoWindow {
        /// The chain.
        chain: ChainName,
    },
    /// EVM chains are told apart by their id.
    #[error("chain {chain} has no chain_id")]
    NoChainId {
        /// The chain.
        chain: ChainName,
    },
    /// A chain that is not asked about addresses.
    #[error("chain {chain}: an EVM chain is read block by block, only a Solana cluster can be asked about addresses")]
    NotByAddress {
        /// The chain.
        chain: ChainName,
    },
    /// A token that is neither an EVM contract nor a mint.
    #[error("chain {chain}: {contract:?} is not the address of a contract or mint")]
    NotAContract {
        /// The chain.
        chain: ChainName,
        /// What stands there instead.
        contract: String,
    },
    /// A tag that says nothing about finality.
    #[error("finality tag must be `finalized` or `safe`, got {tag:?}")]
    UnknownTag {
        /// What stands there instead.
        tag: String,
    },
    /// The HTTP client could not be made.
    #[error("chain {chain}: no HTTP client: {reason}")]
    Client {
        /// The chain.
        chain: ChainName,
        /// Why.
        reason: String,
    },
}
