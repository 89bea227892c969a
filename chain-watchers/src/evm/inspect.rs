//! Whether a node is what the configuration says: the chain's id, and each token's code and decimals.

use ethers::abi::{ParamType, Token as AbiToken, decode};
use ethers::types::{Address, Bytes, U256};
use serde_json::json;
use wopay_domain::Asset;

use super::endpoint::Endpoint;
use super::error::EvmError;
use super::types::address_text;
use crate::pool::Node;

/// Selector of `decimals()`.
const DECIMALS: &str = "0x313ce567";
/// Selector of `symbol()`.
const SYMBOL: &str = "0x95d89b41";
/// Longest symbol shown.
const SYMBOL_CHARS_MAX: usize = 32;

/// What the configuration says.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) chain_id: u64,
    pub(crate) tokens: Vec<(Address, Asset)>,
}

/// What a node says of a token.
#[derive(Clone, Debug)]
pub(crate) struct TokenFacts {
    pub(crate) has_code: bool,
    pub(crate) decimals: Option<u8>,
}

impl Expected {
    /// # Errors
    /// [`EvmError::Wrong`] when the node is another one than expected; others when it cannot be asked.
    pub(crate) async fn verify(&self, endpoint: &Endpoint) -> Result<(), EvmError> {
        let wrong = |reason: String| EvmError::Wrong { endpoint: endpoint.label().to_owned(), reason };
        let chain_id = endpoint.chain_id().await?;
        if chain_id != self.chain_id {
            return Err(wrong(format!("chain id is {chain_id}, configured is {}", self.chain_id)));
        }
        for (contract, asset) in &self.tokens {
            let facts = token_facts(endpoint, *contract).await?;
            if let Some(problem) = facts.problem(*contract, asset) {
                return Err(wrong(problem));
            }
        }
        Ok(())
    }
}

impl TokenFacts {
    /// In what it differs from the configuration.
    pub(crate) fn problem(&self, contract: Address, asset: &Asset) -> Option<String> {
        let name = format!("token {} at {}", asset.symbol, address_text(contract));
        match (self.has_code, self.decimals) {
            (false, _) => Some(format!("{name}: there is no contract")),
            (true, None) => Some(format!("{name}: the contract has no decimals()")),
            (true, Some(decimals)) if decimals != asset.decimals => {
                Some(format!("{name}: decimals are {decimals}, configured are {}", asset.decimals))
            }
            (true, Some(_)) => None,
        }
    }
}

/// Code and decimals.
pub(crate) async fn token_facts(endpoint: &Endpoint, contract: Address) -> Result<TokenFacts, EvmError> {
    let code: Bytes = endpoint.call("eth_getCode", json!([contract, "latest"])).await?;
    if code.is_empty() {
        return Ok(TokenFacts { has_code: false, decimals: None });
    }
    let decimals = view(endpoint, contract, DECIMALS).await?;
    let decimals = decimals.filter(|bytes| bytes.len() == 32).map(|bytes| U256::from_big_endian(&bytes));
    let decimals = decimals.and_then(|value| u8::try_from(value).ok());
    Ok(TokenFacts { has_code: true, decimals })
}

/// What the token calls itself.
pub(crate) async fn token_symbol(endpoint: &Endpoint, contract: Address) -> Result<Option<String>, EvmError> {
    Ok(view(endpoint, contract, SYMBOL).await?.and_then(|bytes| decode_symbol(&bytes)))
}

/// Calls a function without arguments. `None`: it reverts.
async fn view(endpoint: &Endpoint, contract: Address, selector: &str) -> Result<Option<Bytes>, EvmError> {
    let call = json!([{"to": contract, "data": selector}, "latest"]);
    match endpoint.call("eth_call", call).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_revert() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A `string`, or a `bytes32` as some old tokens have.
fn decode_symbol(bytes: &[u8]) -> Option<String> {
    let text = match decode(&[ParamType::String], bytes).ok().and_then(|mut tokens| tokens.pop()) {
        Some(AbiToken::String(text)) => text,
        _ if bytes.len() == 32 => String::from_utf8(bytes.to_vec()).ok()?,
        _ => return None,
    };
    let text: String = text.chars().filter(|c| !c.is_control()).take(SYMBOL_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use ethers::abi::encode;

    use super::*;

    #[test]
    fn symbols_are_strings_or_words() {
        let text = encode(&[AbiToken::String("USDT".to_owned())]);
        assert_eq!(decode_symbol(&text).as_deref(), Some("USDT"));
        let mut word = b"MKR".to_vec();
        word.resize(32, 0);
        assert_eq!(decode_symbol(&word).as_deref(), Some("MKR"));
        assert_eq!(decode_symbol(&[0; 32]), None);
        assert_eq!(decode_symbol(b"junk"), None);
    }
}
