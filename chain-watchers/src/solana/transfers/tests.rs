#![allow(clippy::needless_pass_by_value, reason = "answers of nodes are written in place")]

use serde_json::{Value, json};
use wopay_domain::{AssetId, ChainName};

use super::*;

const SIGNATURE: &str = "5sig";

fn assets() -> Assets {
    let chain: ChainName = "solana".parse().unwrap();
    Assets {
        chain: chain.clone(),
        native: Some(AssetId::native(&chain)),
        mints: HashMap::from([("Mint1".to_owned(), AssetId::token(&chain, "Mint1").unwrap())]),
    }
}

fn block(transactions: Value) -> NodeBlock {
    serde_json::from_value(json!({
        "blockhash": "B", "previousBlockhash": "A", "parentSlot": 1, "blockTime": 1_700_000_000, "blockHeight": 1,
        "transactions": transactions,
    }))
    .unwrap()
}

fn transaction(meta: Value) -> Value {
    let keys = ["payer", "alice", "alices-account", "program"];
    let keys: Vec<_> = keys.iter().map(|key| json!({ "pubkey": key, "signer": false, "writable": true })).collect();
    json!({ "transaction": { "signatures": [SIGNATURE], "accountKeys": keys }, "meta": meta, "version": 0 })
}

fn token(index: usize, owner: &str, mint: &str, amount: &str) -> Value {
    json!({
        "accountIndex": index, "mint": mint, "owner": owner, "programId": "P",
        "uiTokenAmount": { "amount": amount, "decimals": 6, "uiAmount": null, "uiAmountString": "0" },
    })
}

fn found(meta: Value) -> Vec<(String, String, Option<String>, u128)> {
    let candidates = find(&assets(), &block(json!([transaction(meta)]))).unwrap();
    let leg = |candidate: &Candidate| match &candidate.place {
        Place::Settled(DepositLeg::Account(account)) => account.clone(),
        other => panic!("{other:?}"),
    };
    candidates.iter().map(|c| (leg(c), c.to.clone(), c.from.clone(), c.minor.unwrap())).collect()
}

#[test]
fn what_an_account_has_more_is_a_deposit() {
    let meta = json!({ "err": null, "fee": 5, "preBalances": [100, 1, 0, 0], "postBalances": [85, 11, 0, 0] });
    assert_eq!(found(meta), [("alice/native".to_owned(), "alice".to_owned(), Some("payer".to_owned()), 10)]);
}

#[test]
fn who_only_pays_the_fee_is_no_sender() {
    let meta = json!({ "err": null, "fee": 5, "preBalances": [100, 1, 9, 0], "postBalances": [95, 10, 0, 0] });
    assert_eq!(found(meta), [("alice/native".to_owned(), "alice".to_owned(), Some("alices-account".to_owned()), 9)]);
}

#[test]
fn a_failed_transaction_moved_nothing() {
    let meta = json!({
        "err": { "InstructionError": [0, "Custom"] }, "fee": 5,
        "preBalances": [100, 1, 0, 0], "postBalances": [85, 11, 0, 0],
        "preTokenBalances": [], "postTokenBalances": [token(2, "alice", "Mint1", "7")],
    });
    assert_eq!(found(meta), []);
}

#[test]
fn tokens_belong_to_the_owner_of_the_account_and_unknown_mints_are_named() {
    let still = json!([100, 1, 0, 0]);
    let meta = json!({
        "err": null, "fee": 0, "preBalances": still, "postBalances": still,
        "preTokenBalances": [token(2, "alice", "Mint1", "5"), token(0, "payer", "Mint1", "50"), token(3, "x", "Other", "1")],
        "postTokenBalances": [token(2, "alice", "Mint1", "12"), token(0, "payer", "Mint1", "43"), token(1, "alice", "Other", "9")],
    });
    let expected = ("alices-account/Mint1".to_owned(), "alice".to_owned(), Some("payer".to_owned()), 7);
    let unknown = ("alice/Other".to_owned(), "alice".to_owned(), Some("x".to_owned()), 9);
    let found = found(meta);
    assert!(found.contains(&expected) && found.contains(&unknown) && found.len() == 2, "{found:?}");
}

#[test]
fn a_block_without_balances_is_refused() {
    let no_meta = block(json!([{ "transaction": { "signatures": [SIGNATURE], "accountKeys": [] }, "meta": null }]));
    assert!(find(&assets(), &no_meta).unwrap_err().contains(SIGNATURE));
    let short = transaction(json!({ "err": null, "fee": 0, "preBalances": [1], "postBalances": [2] }));
    assert!(find(&assets(), &block(json!([short]))).unwrap_err().contains("another number of balances"));
}
