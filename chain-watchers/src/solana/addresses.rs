//! What a node says of single addresses: their token accounts, and the transactions that mention an account.
//!
//! For installations with few open payments on an endpoint that would not give them every block. A list of transactions
//! is asked of one node from its newest page to its last, each page beginning with the last entry of the one before: a
//! node that does not know the transaction from which it is to go on says "nothing older", and that must not pass for the
//! end. `minContextSlot` has a node that lags refuse, where it would otherwise give a list that lacks the newest.

use serde::Deserialize;
use serde_json::{Value, json};
use solana_client::rpc_request::RpcRequest;

use super::error::SolanaError;
use super::mint::TOKEN_PROGRAM;
use super::node::{SolanaNode, TRANSACTION_VERSION_MAX};
use super::types::{Commitment, NodeFound, NodeTransaction};
use crate::source::Mention;

/// Transactions of one account listed at once, at most. Who has more must read blocks.
const MENTIONS_MAX: usize = 200_000;
/// A mint's bytes at the beginning of a token account, of both programs.
const MINT_BYTES: usize = 32;

/// Of `getSignaturesForAddress`.
#[derive(Debug, Deserialize)]
struct NodeMention {
    signature: String,
    slot: u64,
    /// `null`: it succeeded.
    err: Option<Value>,
}

/// Of `getTokenAccountsByOwner`, base64.
#[derive(Deserialize)]
struct NodeHoldings {
    value: Vec<NodeHolding>,
}

#[derive(Deserialize)]
struct NodeHolding {
    pubkey: String,
    account: NodeHoldingData,
}

#[derive(Deserialize)]
struct NodeHoldingData {
    /// Content and its encoding.
    data: (String, String),
}

impl SolanaNode {
    /// The token accounts of an owner under one token program, each with its mint.
    pub(super) async fn token_accounts(
        &self,
        owner: &str,
        program: &str,
        at_least: u64,
    ) -> Result<Vec<(String, String)>, SolanaError> {
        let config = json!({
            "encoding": "base64",
            "dataSlice": { "offset": 0, "length": MINT_BYTES },
            "commitment": Commitment::Finalized.as_str(),
            "minContextSlot": at_least,
        });
        let params = json!([owner, { "programId": program }, config]);
        let holdings: NodeHoldings = self.call(RpcRequest::GetTokenAccountsByOwner, params).await?;
        let accounts = holdings.value.into_iter().map(|NodeHolding { pubkey, account }| {
            let data = self.bytes(&account.data.0)?;
            let mint = data.get(..MINT_BYTES).ok_or_else(|| self.inconsistent("a token account has no mint"))?;
            Ok((pubkey, bs58::encode(mint).into_string()))
        });
        accounts.collect()
    }

    /// The transactions of finalized blocks that mention the account, newest first, those after `until`; see
    /// [`AddressReads::mentions`](crate::source::AddressReads::mentions).
    pub(super) async fn mentions(
        &self,
        account: &str,
        until: Option<&str>,
        at_least: u64,
        page: usize,
    ) -> Result<Vec<Mention>, SolanaError> {
        let mut mentions: Vec<Mention> = Vec::new();
        loop {
            // From the last but one: the page has to begin with the last.
            let before = mentions.len().checked_sub(2).and_then(|index| mentions.get(index));
            let before = before.map(|mention| mention.transaction.clone());
            let listed = self.page(account, before.as_deref(), until, at_least, page).await?;
            let is_last = listed.len() < page;
            let mut listed = listed.into_iter();
            if let Some(last) = mentions.last()
                && listed.next().as_ref() != Some(last)
            {
                let what = format!("the transactions of {account} before {} do not begin there", last.transaction);
                return Err(self.inconsistent(what));
            }
            mentions.extend(listed);
            if is_last {
                break;
            }
            if mentions.len() > MENTIONS_MAX {
                let what = format!("{account} has more than {MENTIONS_MAX} new transactions: blocks have to be read");
                return Err(self.inconsistent(what));
            }
        }
        if !mentions.windows(2).all(|pair| matches!(pair, [newer, older] if newer.height >= older.height)) {
            return Err(self.inconsistent(format!("the transactions of {account} are not in order")));
        }
        Ok(mentions)
    }

    async fn page(
        &self,
        account: &str,
        before: Option<&str>,
        until: Option<&str>,
        at_least: u64,
        limit: usize,
    ) -> Result<Vec<Mention>, SolanaError> {
        let mut config = json!({
            "limit": limit, "commitment": Commitment::Finalized.as_str(), "minContextSlot": at_least,
        });
        for (name, signature) in [("before", before), ("until", until)] {
            if let (Some(signature), Some(config)) = (signature, config.as_object_mut()) {
                config.insert(name.to_owned(), signature.into());
            }
        }
        let listed: Vec<NodeMention> = self.call(RpcRequest::GetSignaturesForAddress, json!([account, config])).await?;
        let mention = |NodeMention { signature, slot, err }| Mention {
            height: slot,
            transaction: signature,
            succeeded: err.is_none(),
        };
        Ok(listed.into_iter().map(mention).collect())
    }

    /// Asks about an address of nobody, as a look would: some nodes keep no history, or refuse to list token accounts.
    pub(super) async fn try_addresses(&self, page: usize) -> Result<(), SolanaError> {
        let nobody = bs58::encode([7_u8; 32]).into_string();
        self.mentions(&nobody, None, 0, page).await?;
        self.token_accounts(&nobody, TOKEN_PROGRAM, 0).await.map(|_| ())
    }

    /// A transaction that the node has listed.
    pub(super) async fn transaction(&self, mention: &Mention) -> Result<NodeTransaction, SolanaError> {
        let config = json!({
            "encoding": "json",
            "commitment": Commitment::Finalized.as_str(),
            "maxSupportedTransactionVersion": TRANSACTION_VERSION_MAX,
        });
        let signature = &mention.transaction;
        let found: Option<NodeFound> = self.call(RpcRequest::GetTransaction, json!([signature, config])).await?;
        let found =
            found.ok_or_else(|| self.inconsistent(format!("it lists transaction {signature} and has it not")))?;
        if found.slot != mention.height {
            let what =
                format!("transaction {signature} is listed in slot {} and stands in {}", mention.height, found.slot);
            return Err(self.inconsistent(what));
        }
        let transaction = found.into_transaction();
        if transaction.transaction.signatures.first() != Some(signature) {
            return Err(self.inconsistent(format!("asked for transaction {signature}, got another one")));
        }
        Ok(transaction)
    }
}
