//! Sending transactions from the chain's unlocked accounts.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Anvil, Mining, quantity};
use crate::contracts::{Call, Contract, Receipt, Token, TokenKind, artefact};
use crate::eventually;

const MINED_WITHIN: Duration = Duration::from_secs(30);
/// Enough for everything here; without it the node would refuse to send what it sees reverting.
const GAS: &str = "0x2dc6c0";

impl Anvil {
    /// Sends a call and returns the transaction's hash at once, mined or not.
    pub async fn submit(&self, from: &str, call: &Call) -> String {
        let mut transaction = json!({
            "from": from, "data": call.data, "value": format!("{:#x}", call.value), "gas": GAS,
        });
        if let Some(to) = &call.to {
            transaction["to"] = json!(to);
        }
        let hash = self.rpc("eth_sendTransaction", json!([transaction])).await;
        hash.as_str().expect("a transaction hash").to_owned()
    }

    /// Sends a call and waits until it is in a block, mining one if the chain mines on demand. A call that reverts is
    /// mined too and has `succeeded: false`.
    pub async fn transact(&self, from: &str, call: &Call) -> Receipt {
        let hash = self.submit(from, call).await;
        if self.options.mining == Mining::OnDemand {
            self.mine(1).await;
        }
        eventually(&format!("a block with {hash}"), MINED_WITHIN, async || self.receipt(&hash).await).await
    }

    /// The receipt of a transaction; `None` while it is in no block.
    pub async fn receipt(&self, hash: &str) -> Option<Receipt> {
        let receipt = self.rpc("eth_getTransactionReceipt", json!([hash])).await;
        let text = |name: &str| receipt[name].as_str().map(str::to_owned);
        Some(Receipt {
            hash: text("transactionHash")?,
            block: quantity(&receipt["blockNumber"]),
            block_hash: text("blockHash")?,
            succeeded: receipt["status"] == json!("0x1"),
            contract: text("contractAddress"),
        })
    }

    /// Deploys one of the contracts in `testkit/contracts`, with its ABI-encoded constructor arguments (hex, no `0x`).
    async fn deploy(&self, name: &str, arguments: &str) -> String {
        let call = Call { to: None, data: format!("{}{arguments}", artefact(name).bytecode), value: 0 };
        let receipt = self.transact(&self.accounts[0], &call).await;
        assert!(receipt.succeeded, "{name} could not be deployed");
        receipt.contract.expect("a deployment has an address").to_lowercase()
    }

    /// Deploys a token that anybody may mint.
    pub async fn deploy_token(&self, kind: TokenKind, symbol: &str, decimals: u8) -> Token {
        let address = self.deploy(kind.contract(), &Token::constructor(symbol, decimals)).await;
        Token { address, decimals }
    }

    /// Deploys another of the contracts in `testkit/contracts`.
    pub async fn deploy_contract(&self, contract: Contract) -> String {
        self.deploy(contract.name(), "").await
    }

    /// Makes tokens out of nothing.
    pub async fn mint(&self, token: &Token, to: &str, amount: u128) -> Receipt {
        self.transact(&self.accounts[0], &token.mint(to, amount)).await
    }

    /// Sends tokens.
    pub async fn transfer(&self, token: &Token, from: &str, to: &str, amount: u128) -> Receipt {
        self.transact(from, &token.transfer(to, amount)).await
    }

    /// Sends native money, in wei.
    pub async fn send_native(&self, from: &str, to: &str, wei: u128) -> Receipt {
        self.transact(from, &Call::native(to, wei)).await
    }

    /// An account's native money, in wei.
    pub async fn native_balance(&self, account: &str) -> u128 {
        amount(&self.rpc("eth_getBalance", json!([account, "latest"])).await)
    }

    /// An account's tokens, in minor units.
    pub async fn token_balance(&self, token: &Token, account: &str) -> u128 {
        let call = token.balance_of(account);
        amount(&self.rpc("eth_call", json!([{"to": call.to, "data": call.data}, "latest"])).await)
    }

    /// Sets an account's native money, in wei.
    pub async fn set_native_balance(&self, account: &str, wei: u128) {
        self.rpc("anvil_setBalance", json!([account, format!("{wei:#x}")])).await;
    }
}

fn amount(value: &Value) -> u128 {
    let digits = value.as_str().expect("an amount").trim_start_matches("0x").trim_start_matches('0');
    if digits.is_empty() { 0 } else { u128::from_str_radix(digits, 16).expect("an amount of at most 128 bits") }
}
