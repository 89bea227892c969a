//! One endpoint of a Solana cluster: the calls that watching needs, each checked against what was asked.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use solana_client::nonblocking::rpc_client::RpcClient as SolanaClient;
use solana_client::rpc_client::RpcClientConfig;
use solana_client::rpc_request::RpcRequest;
use tokio::sync::Mutex;
use wopay_domain::{Asset, AssetId};

use super::error::{Absence, SolanaError};
use super::mint::MintFacts;
use super::sender::Sender;
use super::types::{Commitment, NodeBlock};
use crate::config::{ConfigError, WatcherConfig};
use crate::evm::client::RpcClient;
use crate::pool::{Meter, Node, Standing};
use crate::source::BlockHeader;

/// Transactions of this version and older are read. With a lower one a node refuses whole blocks.
pub(super) const TRANSACTION_VERSION_MAX: u8 = 1;
/// So far below the newest slot its block is looked for when that slot has none yet.
const NEWEST_WITHIN_SLOTS: u64 = 64;
/// The most slots that nodes list at once.
const SLOTS_MAX: usize = 500_000;

/// What the configuration says.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    /// Base58 of the cluster's genesis hash; `None`: any cluster.
    pub(super) genesis_hash: Option<String>,
    /// By mint, base58: all of them.
    pub(super) mints: Vec<(String, Asset)>,
    /// Of these, those that the cluster is not asked about.
    pub(super) verified: BTreeSet<AssetId>,
}

/// One endpoint.
pub(super) struct SolanaNode {
    client: SolanaClient,
    label: String,
    meter: Arc<Meter>,
    expected: Arc<Expected>,
    standing: Mutex<Standing>,
}

/// How much of a block is asked for.
#[derive(Clone, Copy)]
enum Detail {
    Accounts,
    None,
}

/// Of `getMultipleAccounts`, base64.
#[derive(Deserialize)]
struct Accounts {
    value: Vec<Option<Account>>,
}

#[derive(Deserialize)]
struct Account {
    owner: String,
    /// Content and its encoding.
    data: (String, String),
}

impl Expected {
    /// # Errors
    /// When a token's mint is no address.
    pub(super) fn new(config: &WatcherConfig) -> Result<Self, ConfigError> {
        let tokens = config.chain.assets.iter().filter_map(|asset| Some((asset.id.contract()?, asset)));
        let mints = tokens.map(|(mint, asset)| match bs58::decode(mint).into_vec() {
            Ok(bytes) if bytes.len() == 32 => Ok((mint.to_owned(), asset.clone())),
            _ => Err(ConfigError::NotAContract { chain: config.chain.name.clone(), contract: mint.to_owned() }),
        });
        let (genesis_hash, verified) = (config.genesis_hash.clone(), config.verified.clone());
        Ok(Self { genesis_hash, mints: mints.collect::<Result<_, _>>()?, verified })
    }
}

/// The configured endpoints.
pub(super) fn nodes(config: &WatcherConfig, expected: Expected) -> Result<Vec<SolanaNode>, ConfigError> {
    let expected = Arc::new(expected);
    let clients = RpcClient::of(config)?.into_iter();
    Ok(clients.map(|client| SolanaNode::new(client, Arc::clone(&expected))).collect())
}

impl SolanaNode {
    fn new(client: RpcClient, expected: Arc<Expected>) -> Self {
        let label = client.endpoint().to_owned();
        let meter = client.shared_meter();
        let client = SolanaClient::new_sender(Sender(client), RpcClientConfig::default());
        Self { client, label, meter, expected, standing: Mutex::new(Standing::Unknown) }
    }

    pub(super) fn expected(&self) -> &Expected {
        &self.expected
    }

    pub(super) fn inconsistent(&self, what: impl Into<String>) -> SolanaError {
        SolanaError::Inconsistent { endpoint: self.label.clone(), what: what.into() }
    }

    pub(super) async fn call<T: DeserializeOwned>(&self, request: RpcRequest, params: Value) -> Result<T, SolanaError> {
        let method = name(request);
        let failed = |source| SolanaError::Call { endpoint: self.label.clone(), method, source: Box::new(source) };
        self.client.send(request, params).await.map_err(failed)
    }

    /// Base58.
    pub(super) async fn genesis_hash(&self) -> Result<String, SolanaError> {
        self.call(RpcRequest::GetGenesisHash, json!([])).await
    }

    /// The newest slot of that commitment.
    pub(super) async fn slot(&self, commitment: Commitment) -> Result<u64, SolanaError> {
        self.call(RpcRequest::GetSlot, json!([{ "commitment": commitment.as_str() }])).await
    }

    /// The newest confirmed block, not above `slot`.
    pub(super) async fn newest(&self, slot: u64) -> Result<BlockHeader, SolanaError> {
        if let Some(block) = self.read(slot, Detail::None).await.or_else(Self::no_block_yet)? {
            return self.newest_is(&block, slot);
        }
        let first = slot.saturating_sub(NEWEST_WITHIN_SLOTS);
        let params = json!([first, slot, { "commitment": Commitment::Confirmed.as_str() }]);
        let slots: Vec<u64> = self.call(RpcRequest::GetBlocks, params).await?;
        // The newest of them may be what was just not to be had.
        for slot in slots.into_iter().rev().take(2) {
            if let Some(block) = self.read(slot, Detail::None).await.or_else(Self::no_block_yet)? {
                return self.newest_is(&block, slot);
            }
        }
        Err(self.inconsistent(format!("it has no confirmed block between {first} and {slot}")))
    }

    fn newest_is(&self, block: &NodeBlock, slot: u64) -> Result<BlockHeader, SolanaError> {
        let header = self.to_header(block, slot)?;
        self.meter.note_head(header.block.number, header.block.time);
        Ok(header)
    }

    /// The slots with a confirmed block above `after` and not above `upto`, in order, at most `limit`.
    pub(super) async fn slots(&self, after: u64, upto: u64, limit: usize) -> Result<Vec<u64>, SolanaError> {
        let first = after.saturating_add(1);
        if first > upto || limit == 0 {
            return Ok(Vec::new());
        }
        let params = json!([first, limit.min(SLOTS_MAX), { "commitment": Commitment::Confirmed.as_str() }]);
        let mut slots: Vec<u64> = self.call(RpcRequest::GetBlocksWithLimit, params).await?;
        let sorted = slots.windows(2).all(|pair| matches!(pair, [lower, upper] if lower < upper));
        if !sorted || slots.first().is_some_and(|slot| *slot < first) {
            return Err(self.inconsistent(format!("asked for the blocks from slot {first} on, got others")));
        }
        slots.retain(|slot| *slot <= upto);
        Ok(slots)
    }

    /// The block of that slot without its transactions; `None` when the slot has none.
    pub(super) async fn header(&self, slot: u64) -> Result<Option<BlockHeader>, SolanaError> {
        let block = self.read(slot, Detail::None).await.or_else(|error| self.skipped(slot, error))?;
        block.map(|block| self.to_header(&block, slot)).transpose()
    }

    /// The block of that slot; `None` when there is none, or none yet.
    pub(super) async fn block(&self, slot: u64) -> Result<Option<NodeBlock>, SolanaError> {
        let read = self.read(slot, Detail::Accounts).await.or_else(Self::no_block_yet);
        read.or_else(|error| self.skipped(slot, error))
    }

    /// The block of that slot without its transactions, if the node calls it final; `None` when it does not (yet), and when
    /// the slot has none.
    pub(super) async fn final_header(&self, slot: u64) -> Result<Option<BlockHeader>, SolanaError> {
        let read = self.read_at(slot, Detail::None, Commitment::Finalized).await.or_else(Self::no_block_yet);
        let block = read.or_else(|error| self.skipped(slot, error))?;
        block.map(|block| self.to_header(&block, slot)).transpose()
    }

    async fn read(&self, slot: u64, detail: Detail) -> Result<Option<NodeBlock>, SolanaError> {
        self.read_at(slot, detail, Commitment::Confirmed).await
    }

    async fn read_at(
        &self,
        slot: u64,
        detail: Detail,
        commitment: Commitment,
    ) -> Result<Option<NodeBlock>, SolanaError> {
        let config = json!({
            "encoding": "json",
            "transactionDetails": match detail { Detail::Accounts => "accounts", Detail::None => "none" },
            "rewards": false,
            "maxSupportedTransactionVersion": TRANSACTION_VERSION_MAX,
            "commitment": commitment.as_str(),
        });
        self.call(RpcRequest::GetBlock, json!([slot, config])).await
    }

    /// "Not yet" is no error for who comes again.
    fn no_block_yet(error: SolanaError) -> Result<Option<NodeBlock>, SolanaError> {
        match error.absence() {
            Some(Absence::NotYet) => Ok(None),
            Some(Absence::Skipped | Absence::Pruned) | None => Err(error),
        }
    }

    fn skipped(&self, slot: u64, error: SolanaError) -> Result<Option<NodeBlock>, SolanaError> {
        match error.absence() {
            Some(Absence::Skipped) => Ok(None),
            Some(Absence::Pruned) => Err(SolanaError::Pruned { endpoint: self.label.clone(), slot }),
            Some(Absence::NotYet) | None => Err(error),
        }
    }

    fn to_header(&self, block: &NodeBlock, slot: u64) -> Result<BlockHeader, SolanaError> {
        block.to_header(slot).ok_or_else(|| self.inconsistent(format!("block {slot} has no time")))
    }

    /// What the accounts of these mints say, in their order.
    pub(super) async fn mints(&self, mints: &[&str]) -> Result<Vec<MintFacts>, SolanaError> {
        let params = json!([mints, { "encoding": "base64", "commitment": Commitment::Confirmed.as_str() }]);
        let accounts: Accounts = self.call(RpcRequest::GetMultipleAccounts, params).await?;
        if accounts.value.len() != mints.len() {
            return Err(self.inconsistent("asked for accounts, got another number of them"));
        }
        let facts = accounts.value.into_iter().map(|account| match account {
            Some(Account { owner, data: (content, _) }) => Ok(MintFacts::read(&owner, &self.bytes(&content)?)),
            None => Ok(MintFacts::read("", &[])),
        });
        facts.collect()
    }
}

impl SolanaNode {
    /// An account's data.
    pub(super) fn bytes(&self, content: &str) -> Result<Vec<u8>, SolanaError> {
        STANDARD.decode(content).map_err(|_| self.inconsistent("an account's data is no base64"))
    }
}

#[async_trait]
impl Node for SolanaNode {
    type Failure = SolanaError;

    fn label(&self) -> &str {
        &self.label
    }

    fn standing(&self) -> &Mutex<Standing> {
        &self.standing
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    async fn look_at_head(&self) -> Result<(), SolanaError> {
        let slot = self.slot(Commitment::Confirmed).await?;
        self.newest(slot).await.map(|_| ())
    }

    async fn verify(&self) -> Result<(), SolanaError> {
        let wrong = |reason: String| SolanaError::Wrong { endpoint: self.label.clone(), reason };
        if let Some(expected) = &self.expected.genesis_hash {
            let genesis = self.genesis_hash().await?;
            if genesis != *expected {
                return Err(wrong(format!("genesis hash is {genesis}, configured is {expected}")));
            }
        }
        let is_asked = |(_, asset): &&(String, Asset)| !self.expected.verified.contains(&asset.id);
        let asked: Vec<&(String, Asset)> = self.expected.mints.iter().filter(is_asked).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let mints: Vec<&str> = asked.iter().map(|(mint, _)| mint.as_str()).collect();
        for ((mint, asset), facts) in asked.into_iter().zip(self.mints(&mints).await?) {
            if let Some(problem) = facts.problem(mint, asset) {
                return Err(wrong(problem));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SolanaNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SolanaNode").field("label", &self.label).finish_non_exhaustive()
    }
}

const fn name(request: RpcRequest) -> &'static str {
    match request {
        RpcRequest::GetSlot => "getSlot",
        RpcRequest::GetBlock => "getBlock",
        RpcRequest::GetBlocks => "getBlocks",
        RpcRequest::GetBlocksWithLimit => "getBlocksWithLimit",
        RpcRequest::GetGenesisHash => "getGenesisHash",
        RpcRequest::GetMultipleAccounts => "getMultipleAccounts",
        RpcRequest::GetTokenAccountsByOwner => "getTokenAccountsByOwner",
        RpcRequest::GetSignaturesForAddress => "getSignaturesForAddress",
        RpcRequest::GetTransaction => "getTransaction",
        _ => "a call",
    }
}
