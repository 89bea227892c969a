//! The contracts in `testkit/contracts`, and just enough ABI encoding to call them.

use std::collections::BTreeMap;

use serde_json::Value;

const TEST_TOKEN: &str = include_str!("../contracts/build/TestToken.json");
const SILENT_TOKEN: &str = include_str!("../contracts/build/SilentToken.json");
const BATCH: &str = include_str!("../contracts/build/Batch.json");
const REVERTER: &str = include_str!("../contracts/build/Reverter.json");

/// Bytes of an ABI word.
const WORD: usize = 32;

/// A compiled contract.
pub(crate) struct Artefact {
    /// `0x…`
    pub(crate) bytecode: String,
    /// Signature to selector, eight hex digits.
    selectors: BTreeMap<String, String>,
}

/// A contract of `testkit/contracts` by name.
pub(crate) fn artefact(name: &str) -> Artefact {
    let json = match name {
        "TestToken" => TEST_TOKEN,
        "SilentToken" => SILENT_TOKEN,
        "Batch" => BATCH,
        "Reverter" => REVERTER,
        _ => panic!("no contract {name}"),
    };
    let json: Value = serde_json::from_str(json).expect("build.mjs writes JSON");
    let selectors = json["selectors"].as_object().expect("build.mjs writes selectors");
    let selectors = selectors.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
    Artefact { bytecode: json["bytecode"].as_str().unwrap().to_owned(), selectors: selectors.collect() }
}

/// A transaction in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The transaction's hash, `0x…`.
    pub hash: String,
    /// The block's height.
    pub block: u64,
    /// The block's hash, `0x…`.
    pub block_hash: String,
    /// False if it reverted.
    pub succeeded: bool,
    /// The contract it made, `0x…`.
    pub contract: Option<String>,
}

/// What to send: to whom, calldata, native money.
#[derive(Debug, Clone)]
pub struct Call {
    /// Receiver, `0x…`; `None` makes a contract.
    pub to: Option<String>,
    /// Calldata, `0x…`.
    pub data: String,
    /// Native money in wei.
    pub value: u128,
}

impl Call {
    /// Native money and nothing else.
    #[must_use]
    pub fn native(to: &str, wei: u128) -> Self {
        Self { to: Some(to.to_owned()), data: "0x".to_owned(), value: wei }
    }

    /// The same with that calldata (`0x…`) put after what it has.
    #[must_use]
    pub fn with_data(mut self, data: &str) -> Self {
        self.data.push_str(data.trim_start_matches("0x"));
        self
    }

    /// Transfers by a [`Contract::Batch`] in one transaction: tokens it holds, and native money sent along.
    #[must_use]
    pub fn batch(batch: &str, token: &str, tokens: &[(&str, u128)], natives: &[(&str, u128)]) -> Self {
        let arrays = [
            addresses(tokens.iter().map(|(to, _)| *to)),
            amounts(tokens.iter().map(|(_, amount)| *amount)),
            addresses(natives.iter().map(|(to, _)| *to)),
            amounts(natives.iter().map(|(_, amount)| *amount)),
        ];
        let mut head = address(token);
        let mut tail = String::new();
        for array in arrays {
            let offset = WORD * 5 + tail.len() / 2;
            head.push_str(&word(offset as u128));
            tail.push_str(&array);
        }
        let arguments = head + &tail;
        let mut call = call("Batch", batch, "send(address,address[],uint256[],address[],uint256[])", &arguments);
        call.value = natives.iter().map(|(_, wei)| wei).sum();
        call
    }

    /// A token transfer that is announced and then reverts, by a [`Contract::Reverter`].
    #[must_use]
    pub fn reverting_transfer(reverter: &str, to: &str, amount: u128) -> Self {
        call("Reverter", reverter, "transfer(address,uint256)", &(address(to) + &word(amount)))
    }
}

/// The contracts that are no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    /// Several transfers in one transaction ([`Call::batch`]).
    Batch,
    /// Reverts whatever it is sent ([`Call::reverting_transfer`]).
    Reverter,
}

impl Contract {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Batch => "Batch",
            Self::Reverter => "Reverter",
        }
    }
}

/// How a token behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A plain ERC-20.
    Plain,
    /// Like USDT on Ethereum: its functions return nothing.
    Silent,
}

impl TokenKind {
    pub(crate) fn contract(self) -> &'static str {
        match self {
            Self::Plain => "TestToken",
            Self::Silent => "SilentToken",
        }
    }
}

/// A deployed token.
#[derive(Debug, Clone)]
pub struct Token {
    /// Its contract, `0x…` in lower case.
    pub address: String,
    /// Decimals of its minor unit.
    pub decimals: u8,
}

impl Token {
    /// That many whole tokens in minor units.
    #[must_use]
    pub fn whole(&self, tokens: u128) -> u128 {
        tokens * 10u128.pow(u32::from(self.decimals))
    }

    /// Makes tokens out of nothing.
    #[must_use]
    pub fn mint(&self, to: &str, amount: u128) -> Call {
        self.call("mint(address,uint256)", &(address(to) + &word(amount)))
    }

    /// Sends the caller's tokens.
    #[must_use]
    pub fn transfer(&self, to: &str, amount: u128) -> Call {
        self.call("transfer(address,uint256)", &(address(to) + &word(amount)))
    }

    /// Lets somebody else send the caller's tokens.
    #[must_use]
    pub fn approve(&self, spender: &str, amount: u128) -> Call {
        self.call("approve(address,uint256)", &(address(spender) + &word(amount)))
    }

    /// Sends tokens of somebody who approved.
    #[must_use]
    pub fn transfer_from(&self, from: &str, to: &str, amount: u128) -> Call {
        let arguments = address(from) + &address(to) + &word(amount);
        self.call("transferFrom(address,address,uint256)", &arguments)
    }

    /// Asks for an account's tokens.
    #[must_use]
    pub fn balance_of(&self, account: &str) -> Call {
        self.call("balanceOf(address)", &address(account))
    }

    pub(crate) fn constructor(symbol: &str, decimals: u8) -> String {
        word((2 * WORD) as u128) + &word(u128::from(decimals)) + &text(symbol)
    }

    fn call(&self, signature: &str, arguments: &str) -> Call {
        // Both kinds of token have the same functions.
        call("TestToken", &self.address, signature, arguments)
    }
}

fn call(contract: &str, to: &str, signature: &str, arguments: &str) -> Call {
    let selectors = artefact(contract).selectors;
    let selector = selectors.get(signature).unwrap_or_else(|| panic!("{contract} has no {signature}"));
    Call { to: Some(to.to_owned()), data: format!("0x{selector}{arguments}"), value: 0 }
}

fn word(number: u128) -> String {
    format!("{number:064x}")
}

fn address(address: &str) -> String {
    let digits = address.trim_start_matches("0x");
    assert!(digits.len() == 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "not an address: {address}");
    format!("{:0>64}", digits.to_lowercase())
}

fn array(words: &[String]) -> String {
    word(words.len() as u128) + &words.concat()
}

fn addresses<'a>(items: impl Iterator<Item = &'a str>) -> String {
    array(&items.map(address).collect::<Vec<_>>())
}

fn amounts(items: impl Iterator<Item = u128>) -> String {
    array(&items.map(word).collect::<Vec<_>>())
}

fn text(text: &str) -> String {
    let bytes: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let padded = bytes.len().div_ceil(2 * WORD) * 2 * WORD;
    word(text.len() as u128) + &format!("{bytes:0<padded$}")
}
