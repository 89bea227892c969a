//! Native balances of many addresses at given blocks, pinned to the blocks' hashes.
//!
//! Many are read in one `eth_call` that makes no contract: its code is ours, runs where a constructor would, and returns
//! the balance of each address that stands behind it. So it works where no helper contract is deployed, and one call
//! answers for hundreds. A node that refuses it, or answers with something else, is asked for each balance.

use ethers::types::{Address, Bytes, U64, U256};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use wopay_domain::BlockRef;

use super::EvmSource;
use super::backfill::{bare_block, batched};
use super::endpoint::Endpoint;
use super::error::EvmError;
use super::transfers::parse_hash;
use super::types::minor;

/// Addresses in one call: the answer is measured like a contract's code, of which there may be 24,576 bytes.
const ADDRESSES_IN_CALL: usize = 500;
/// So few are not worth a call of their own kind.
const FEW: usize = 4;
const WORD: usize = 32;

/// Replaces each word behind itself, an address, by the balance there, and returns them.
///
/// ```text
/// 00  PUSH1 25 CODESIZE SUB            size of the words
/// 04  DUP1 PUSH1 25 PUSH1 0 CODECOPY   the words to memory, at 0
/// 0a  JUMPDEST DUP1 ISZERO PUSH1 1c JUMPI
/// 10  PUSH1 20 SWAP1 SUB               one word down
/// 14  DUP1 MLOAD BALANCE DUP2 MSTORE PUSH1 0a JUMP
/// 1c  JUMPDEST POP PUSH1 25 CODESIZE SUB PUSH1 0 RETURN
/// ```
const BALANCES: [u8; 0x25] = [
    0x60, 0x25, 0x38, 0x03, 0x80, 0x60, 0x25, 0x60, 0x00, 0x39, 0x5b, 0x80, 0x15, 0x60, 0x1c, 0x57, 0x60, 0x20, 0x90,
    0x03, 0x80, 0x51, 0x31, 0x81, 0x52, 0x60, 0x0a, 0x56, 0x5b, 0x50, 0x60, 0x25, 0x38, 0x03, 0x60, 0x00, 0xf3,
];

impl EvmSource {
    /// See [`ChainSource::holdings`](crate::ChainSource::holdings).
    pub(super) async fn read_holdings(
        &self,
        endpoint: &Endpoint,
        blocks: &[BlockRef],
        addresses: &[String],
    ) -> Result<Vec<Vec<u128>>, EvmError> {
        let addresses = addresses
            .iter()
            .map(|text| text.parse().map_err(|_| endpoint.inconsistent(format!("{text:?} is not an address"))))
            .collect::<Result<Vec<Address>, _>>()?;
        let by_hash = blocks
            .iter()
            .map(|block| Ok(json!({ "blockHash": parse_hash(endpoint, &block.hash)?, "requireCanonical": true })))
            .collect::<Result<Vec<_>, EvmError>>()?;
        match self.read_at(endpoint, Pins::Hashes(&by_hash), &addresses).await {
            // A node that does not know EIP-1898: by number, with the hashes compared afterwards.
            Err(error) if error.is_invalid_request() => {
                let by_number: Vec<Value> = blocks.iter().map(|block| json!(U64::from(block.number))).collect();
                let holdings = self.read_at(endpoint, Pins::Numbers(&by_number), &addresses).await?;
                for block in blocks {
                    let there = bare_block(endpoint, block.number).await?;
                    if there.map(|there| there.hash) != Some(parse_hash(endpoint, &block.hash)?) {
                        return Err(endpoint.inconsistent(format!("block {} is not {}", block.number, block.hash)));
                    }
                }
                Ok(holdings)
            }
            result => result,
        }
    }

    async fn read_at(
        &self,
        endpoint: &Endpoint,
        pins: Pins<'_>,
        addresses: &[Address],
    ) -> Result<Vec<Vec<u128>>, EvmError> {
        let (Pins::Hashes(blocks) | Pins::Numbers(blocks)) = pins;
        let at_once = match addresses.len() {
            ..=FEW => Ok(None),
            _ => self.all_at_once(endpoint, blocks, addresses).await,
        };
        let amounts = match at_once {
            Ok(Some(amounts)) => amounts,
            Ok(None) => self.one_by_one(endpoint, blocks, addresses).await?,
            // By number, it is the kind of call that it does not know.
            Err(error) if error.is_answer() && (pins.are_numbers() || !error.is_invalid_request()) => {
                tracing::debug!(%error, "asking for each balance");
                self.one_by_one(endpoint, blocks, addresses).await?
            }
            Err(error) => return Err(error),
        };
        let counted = amounts.chunks(addresses.len().max(1)).map(|amounts| {
            let in_range =
                |amount: &U256| minor(*amount).ok_or_else(|| endpoint.inconsistent("a balance is out of range"));
            amounts.iter().map(in_range).collect()
        });
        counted.collect()
    }

    async fn one_by_one(
        &self,
        endpoint: &Endpoint,
        pins: &[Value],
        addresses: &[Address],
    ) -> Result<Vec<U256>, EvmError> {
        let calls: Vec<Value> =
            pins.iter().flat_map(|pin| addresses.iter().map(move |address| json!([address, pin]))).collect();
        batched(endpoint, &self.paces, self.concurrency, "eth_getBalance", &calls).await
    }

    /// `None`: the node did not run the program.
    async fn all_at_once(
        &self,
        endpoint: &Endpoint,
        pins: &[Value],
        addresses: &[Address],
    ) -> Result<Option<Vec<U256>>, EvmError> {
        let calls = pins.iter().flat_map(|pin| addresses.chunks(ADDRESSES_IN_CALL).map(move |chunk| (pin, chunk)));
        let reads: Vec<_> = calls.map(|(pin, chunk)| balances(endpoint, pin, chunk)).collect();
        let read: Vec<Option<Vec<U256>>> = stream::iter(reads).buffered(self.concurrency).try_collect().await?;
        let read: Option<Vec<Vec<U256>>> = read.into_iter().collect();
        Ok(read.map(|amounts| amounts.concat()))
    }
}

/// How the blocks are named.
#[derive(Clone, Copy)]
enum Pins<'a> {
    Hashes(&'a [Value]),
    Numbers(&'a [Value]),
}

impl Pins<'_> {
    const fn are_numbers(self) -> bool {
        matches!(self, Self::Numbers(_))
    }
}

/// `None`: what it answers is not as many balances.
async fn balances(endpoint: &Endpoint, pin: &Value, chunk: &[Address]) -> Result<Option<Vec<U256>>, EvmError> {
    let words: Bytes = endpoint.call("eth_call", json!([{ "data": program(chunk) }, pin])).await?;
    let is_whole = words.len() == chunk.len().saturating_mul(WORD);
    Ok(is_whole.then(|| words.chunks(WORD).map(U256::from_big_endian).collect()))
}

fn program(addresses: &[Address]) -> Bytes {
    let mut code = BALANCES.to_vec();
    for address in addresses {
        code.extend([0; WORD - 20]);
        code.extend(address.as_bytes());
    }
    code.into()
}
