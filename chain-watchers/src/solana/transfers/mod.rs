//! Deposits of a block: what accounts have more than before.

use std::collections::{BTreeMap, HashMap};

use wopay_domain::{AssetId, ChainName, DepositLeg};

use super::types::{NodeBlock, NodeMeta, NodeTokenBalance, NodeTransaction};
use crate::source::{Candidate, Place};

/// The assets of a cluster by what identifies them there.
#[derive(Clone, Debug)]
pub(super) struct Assets {
    pub(super) chain: ChainName,
    pub(super) native: Option<AssetId>,
    /// By mint.
    pub(super) mints: HashMap<String, AssetId>,
}

/// In a leg's text, beside the account: the native coin has no mint.
const NATIVE: &str = "native";

/// Every account that has more of an asset after a transaction of the block than before it.
///
/// # Errors
/// What is missing in the node's answer.
pub(super) fn find(assets: &Assets, block: &NodeBlock) -> Result<Vec<Candidate>, String> {
    let mut candidates = Vec::new();
    for transaction in &block.transactions {
        candidates.extend(find_in(assets, transaction)?);
    }
    Ok(candidates)
}

/// Every account that has more of an asset after the transaction than before it, of tokens that are not configured too:
/// it names them all. A token belongs to the owner of its account, whichever account it is.
///
/// # Errors
/// What is missing in the node's answer.
pub(super) fn find_in(assets: &Assets, transaction: &NodeTransaction) -> Result<Vec<Candidate>, String> {
    let mut candidates = Vec::new();
    let signature = transaction.transaction.signatures.first().ok_or("a transaction has no signature")?;
    let meta = transaction.meta.as_ref().ok_or_else(|| format!("no balances of transaction {signature}"))?;
    if meta.err.is_some() {
        return Ok(candidates);
    }
    let keys = transaction.transaction.account_keys.len();
    if meta.pre_balances.len() != keys || meta.post_balances.len() != keys {
        return Err(format!("transaction {signature} has {keys} accounts and another number of balances"));
    }
    if let Some(native) = &assets.native {
        lamports(transaction, meta, signature, native, &mut candidates);
    }
    tokens(transaction, meta, signature, assets, &mut candidates)?;
    Ok(candidates)
}

fn lamports(
    transaction: &NodeTransaction,
    meta: &NodeMeta,
    signature: &str,
    native: &AssetId,
    candidates: &mut Vec<Candidate>,
) {
    let balances = || {
        let keys = transaction.transaction.account_keys.iter().map(|key| key.pubkey.as_str());
        keys.zip(meta.pre_balances.iter().zip(&meta.post_balances))
    };
    // The first account pays the fee: that alone makes it no sender.
    let fees = || std::iter::once(meta.fee).chain(std::iter::repeat(0));
    let senders = balances().zip(fees()).filter(|((_, (pre, post)), fee)| post.saturating_add(*fee) < **pre);
    let sender = only(senders.map(|((key, _), _)| key));
    for (account, (pre, post)) in balances() {
        let Some(gained) = post.checked_sub(*pre).filter(|gained| *gained > 0) else { continue };
        candidates.push(Candidate {
            transaction: signature.to_owned(),
            place: Place::Settled(DepositLeg::Account(format!("{account}/{NATIVE}"))),
            to: account.to_owned(),
            from: sender.map(str::to_owned),
            asset: native.clone(),
            minor: Some(u128::from(gained)),
        });
    }
}

/// A token account's balance around a transaction.
#[derive(Default)]
struct Balance<'a> {
    owner: Option<&'a str>,
    pre: u64,
    post: u64,
}

fn tokens(
    transaction: &NodeTransaction,
    meta: &NodeMeta,
    signature: &str,
    assets: &Assets,
    candidates: &mut Vec<Candidate>,
) -> Result<(), String> {
    let mut balances: BTreeMap<(usize, &str), Balance<'_>> = BTreeMap::new();
    for balance in meta.pre_token_balances.iter().flatten() {
        balances.entry((balance.account_index, &balance.mint)).or_default().pre = minor(balance, signature)?;
    }
    for balance in meta.post_token_balances.iter().flatten() {
        let entry = balances.entry((balance.account_index, &balance.mint)).or_default();
        entry.post = minor(balance, signature)?;
        entry.owner = balance.owner.as_deref();
    }
    let pre_owner = |index, mint: &str| {
        let mut pre = meta.pre_token_balances.iter().flatten();
        pre.find(|balance| balance.account_index == index && balance.mint == mint)?.owner.as_deref()
    };
    for ((index, mint), balance) in &balances {
        let Some(gained) = balance.post.checked_sub(balance.pre).filter(|gained| *gained > 0) else { continue };
        let known = assets.mints.get(*mint).cloned();
        let unknown = || AssetId::token(&assets.chain, mint).ok().filter(|_| balance.owner.is_some());
        let Some(asset) = known.or_else(unknown) else { continue };
        let account = transaction.transaction.account_keys.get(*index);
        let account = account.ok_or_else(|| format!("transaction {signature} has no account {index}"))?;
        let owner = balance.owner.ok_or_else(|| format!("token account {} names no owner", account.pubkey))?;
        let losers = balances.iter().filter(|((_, other), b)| other == mint && b.post < b.pre);
        candidates.push(Candidate {
            transaction: signature.to_owned(),
            place: Place::Settled(DepositLeg::Account(format!("{}/{mint}", account.pubkey))),
            to: owner.to_owned(),
            from: only(losers.filter_map(|((index, mint), _)| pre_owner(*index, mint))).map(str::to_owned),
            asset,
            minor: Some(u128::from(gained)),
        });
    }
    Ok(())
}

fn minor(balance: &NodeTokenBalance, signature: &str) -> Result<u64, String> {
    let amount = &balance.ui_token_amount.amount;
    amount.parse().map_err(|_| format!("transaction {signature} has a token balance of {amount:?}"))
}

/// The one there is; of several nobody says which.
fn only<'a>(mut all: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

#[cfg(test)]
mod tests;
