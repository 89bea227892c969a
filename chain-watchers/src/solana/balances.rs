//! What addresses hold now. Solana's nodes answer for their newest slot of a commitment, and for no earlier one; each
//! answer names the slot it is of. So every balance carries its slot, and none is older than the first one asked for.

use std::fmt;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use solana_client::rpc_request::RpcRequest;
use wopay_domain::{AssetId, BlockRef, ChainName};

use super::SolanaSource;
use super::error::SolanaError;
use super::node::SolanaNode;
use super::types::Commitment;
use crate::balances::{Balance, BalanceBlock, BalanceError};
use crate::config::WatcherConfig;
use crate::source::ChainSource as _;

/// Accounts in one call: what nodes allow.
const ACCOUNTS_MAX: usize = 100;
/// How long a node may take to come to the slot where another one of its endpoint was.
const BEHIND_WITHIN: Duration = Duration::from_secs(20);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(400);
/// Layout of a token account, the same in both token programs: mint, owner (32 bytes each), amount (8, little endian).
const KEY_BYTES: usize = 32;
const AMOUNT_BYTES: usize = 8;

/// See [`crate::BalanceReader`].
pub(crate) struct SolanaBalances {
    source: SolanaSource,
    name: ChainName,
    commitment: Commitment,
    /// The newest block of the commitment when reading began.
    block: BlockRef,
    concurrency: usize,
}

/// What one account asked for is.
#[derive(Clone, Copy, Debug)]
struct Account<'a> {
    owner: &'a str,
    /// `None`: lamports.
    mint: Option<&'a str>,
}

/// An answer and the slot it is of.
#[derive(Deserialize)]
struct Answer<T> {
    context: Context,
    value: T,
}

#[derive(Deserialize)]
struct Context {
    slot: u64,
}

#[derive(Deserialize)]
struct Lamports {
    lamports: u64,
}

#[derive(Deserialize)]
struct TokenAccount {
    account: Content,
}

#[derive(Deserialize)]
struct Content {
    /// Content and its encoding.
    data: (String, String),
}

impl SolanaBalances {
    pub(crate) async fn at(config: &WatcherConfig, block: BalanceBlock) -> Result<Self, BalanceError> {
        let name = config.chain.name.clone();
        let commitment = match block {
            BalanceBlock::Finalized => Commitment::Finalized,
            BalanceBlock::Latest => Commitment::Confirmed,
            BalanceBlock::Height(_) => return Err(BalanceError::NoPast { chain: name }),
        };
        let source = SolanaSource::new(config)?;
        let block = newest(&source, commitment).await?;
        let concurrency = config.rpc_options.concurrency.max(1);
        Ok(Self { source, name, commitment, block, concurrency })
    }

    pub(crate) const fn block(&self) -> &BlockRef {
        &self.block
    }

    pub(crate) async fn check_canonical(&self) -> Result<(), BalanceError> {
        match self.source.header(self.block.number).await? {
            Some(header) if header.block.hash == self.block.hash => Ok(()),
            _ => Err(BalanceError::Replaced { chain: self.name.clone(), block: self.block.number }),
        }
    }

    /// All of `accounts` from one endpoint after the other until one has answered everything.
    pub(crate) async fn read(&self, accounts: &[(&str, &AssetId)]) -> Result<Vec<Balance>, BalanceError> {
        let parsed =
            accounts.iter().map(|(address, asset)| self.parse(address, asset)).collect::<Result<Vec<_>, _>>()?;
        let mut attempt = self.source.pool.attempt();
        loop {
            let node = attempt.next().await?;
            match self.read_from(node, &parsed).await {
                Ok(balances) => return Ok(balances),
                Err(failure) => attempt.failed(node, failure).await,
            }
        }
    }

    fn parse<'a>(&self, address: &'a str, asset: &'a AssetId) -> Result<Account<'a>, BalanceError> {
        let mint = asset.contract();
        if asset.chain() == self.name.as_str() && is_key(address) && mint.is_none_or(is_key) {
            return Ok(Account { owner: address, mint });
        }
        let (chain, address, asset) = (self.name.clone(), address.to_owned(), asset.clone());
        Err(BalanceError::NotAnAccount { chain, address, asset })
    }

    async fn read_from(&self, node: &SolanaNode, accounts: &[Account<'_>]) -> Result<Vec<Balance>, SolanaError> {
        let mut natives: Vec<(usize, &str)> = Vec::new();
        let mut tokens: Vec<(usize, &str, &str)> = Vec::new();
        for (index, account) in accounts.iter().enumerate() {
            match account.mint {
                None => natives.push((index, account.owner)),
                Some(mint) => tokens.push((index, account.owner, mint)),
            }
        }
        // Made first: a stream that makes them on its way could not be sent between threads.
        let native_calls: Vec<_> = natives.chunks(ACCOUNTS_MAX).map(|owners| self.lamports(node, owners)).collect();
        let token_calls: Vec<_> =
            tokens.iter().map(|(index, owner, mint)| self.tokens(node, *index, owner, mint)).collect();
        let native: Vec<Vec<(usize, Balance)>> =
            futures::stream::iter(native_calls).buffered(self.concurrency).try_collect().await?;
        let token: Vec<(usize, Balance)> =
            futures::stream::iter(token_calls).buffered(self.concurrency).try_collect().await?;
        let mut balances: Vec<(usize, Balance)> = native.into_iter().flatten().chain(token).collect();
        balances.sort_unstable_by_key(|(index, _)| *index);
        Ok(balances.into_iter().map(|(_, balance)| balance).collect())
    }

    async fn lamports(
        &self,
        node: &SolanaNode,
        owners: &[(usize, &str)],
    ) -> Result<Vec<(usize, Balance)>, SolanaError> {
        let keys: Vec<&str> = owners.iter().map(|(_, owner)| *owner).collect();
        let mut config = self.config();
        config["dataSlice"] = json!({ "offset": 0, "length": 0 });
        let answer: Answer<Vec<Option<Lamports>>> =
            ask(node, RpcRequest::GetMultipleAccounts, json!([keys, config])).await?;
        let height = self.slot_of(node, &answer)?;
        if answer.value.len() != owners.len() {
            return Err(node.inconsistent("asked for accounts, got another number of them"));
        }
        let held = answer.value.iter().map(|account| account.as_ref().map_or(0, |account| account.lamports));
        let balances = owners.iter().zip(held);
        Ok(balances.map(|((index, _), held)| (*index, Balance { minor: u128::from(held), height })).collect())
    }

    /// The sum of all accounts in which this owner holds the mint: its associated one and any other.
    async fn tokens(
        &self,
        node: &SolanaNode,
        index: usize,
        owner: &str,
        mint: &str,
    ) -> Result<(usize, Balance), SolanaError> {
        let params = json!([owner, { "mint": mint }, self.config()]);
        let answer: Answer<Vec<TokenAccount>> = ask(node, RpcRequest::GetTokenAccountsByOwner, params).await?;
        let height = self.slot_of(node, &answer)?;
        let mut minor = 0_u128;
        for TokenAccount { account } in &answer.value {
            let amount = amount_of(&node.bytes(&account.data.0)?, owner, mint);
            let amount = amount.ok_or_else(|| node.inconsistent(format!("asked for {mint} of {owner}, got others")))?;
            // At most 2^64 accounts of less than 2^64 each.
            minor = minor.saturating_add(u128::from(amount));
        }
        Ok((index, Balance { minor, height }))
    }

    fn config(&self) -> Value {
        json!({
            "encoding": "base64",
            "commitment": self.commitment.as_str(),
            "minContextSlot": self.block.number,
        })
    }

    fn slot_of<T>(&self, node: &SolanaNode, answer: &Answer<T>) -> Result<u64, SolanaError> {
        let (slot, first) = (answer.context.slot, self.block.number);
        if slot < first {
            return Err(node.inconsistent(format!("asked for slot {first} or later, answered of slot {slot}")));
        }
        Ok(slot)
    }
}

/// Asks, and for a while again: behind one endpoint there are often many nodes, of which some lag by a few slots.
async fn ask<T: DeserializeOwned>(node: &SolanaNode, request: RpcRequest, params: Value) -> Result<T, SolanaError> {
    let deadline = Instant::now() + BEHIND_WITHIN;
    loop {
        match node.call(request, params.clone()).await {
            Err(error) if error.is_behind() && Instant::now() < deadline => tokio::time::sleep(ASK_AGAIN_AFTER).await,
            answered => return answered,
        }
    }
}

async fn newest(source: &SolanaSource, commitment: Commitment) -> Result<BlockRef, BalanceError> {
    let mut attempt = source.pool.attempt();
    loop {
        let node = attempt.next().await?;
        let asked = async { node.newest(node.slot(commitment).await?).await };
        match asked.await {
            Ok(header) => return Ok(header.block),
            Err(failure) => attempt.failed(node, failure).await,
        }
    }
}

fn is_key(text: &str) -> bool {
    bs58::decode(text).into_vec().is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

/// What a token account holds; `None`: it is none, or of another mint or owner.
fn amount_of(data: &[u8], owner: &str, mint: &str) -> Option<u64> {
    let (of_mint, rest) = data.split_at_checked(KEY_BYTES)?;
    let (of_owner, rest) = rest.split_at_checked(KEY_BYTES)?;
    let amount = u64::from_le_bytes(rest.get(..AMOUNT_BYTES)?.try_into().ok()?);
    let is_asked = bs58::encode(of_mint).into_string() == mint && bs58::encode(of_owner).into_string() == owner;
    is_asked.then_some(amount)
}

impl fmt::Debug for SolanaBalances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, commitment, block, .. } = self;
        f.debug_struct("SolanaBalances")
            .field("name", name)
            .field("commitment", commitment)
            .field("block", block)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::amount_of;

    fn key(byte: u8) -> String {
        bs58::encode([byte; 32]).into_string()
    }

    #[test]
    fn an_account_of_another_owner_or_mint_is_none() {
        let mut data = [[1; 32], [2; 32]].concat();
        data.extend(500_u64.to_le_bytes());
        data.extend([0; 93]);
        assert_eq!(amount_of(&data, &key(2), &key(1)), Some(500));
        assert_eq!(amount_of(&data, &key(1), &key(2)), None);
        assert_eq!(amount_of(&data, &key(3), &key(1)), None);
        assert_eq!(amount_of(&data[..71], &key(2), &key(1)), None);
    }
}
