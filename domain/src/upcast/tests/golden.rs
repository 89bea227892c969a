//! Every version of every event that was ever written has a line in a golden file, and is read. Lines are added, never
//! edited: what stands in a ledger does not change either.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::access::AccessKeyEvent;
use crate::chains::ChainEvent;
use crate::deposit::UnmatchedDepositEvent;
use crate::envelope::{LedgerEvent, decode};
use crate::merchant::MerchantEvent;
use crate::payment::PaymentEvent;
use crate::upcast::{current_version, versions};

/// Payment events as they were before there were versions: bare payloads of 1.0.
const FIRST_PAYMENTS: &str = include_str!("../../payment/tests/events-1.0.jsonl");
/// By aggregate type, lines of `{"event_version": …, "payload": …}`.
const GOLDEN: [(&str, &str); 5] = [
    ("payment", include_str!("../../payment/tests/events-1.1.jsonl")),
    ("merchant", include_str!("../golden/merchant.jsonl")),
    ("access_key", include_str!("../golden/access_key.jsonl")),
    ("chain", include_str!("../golden/chain.jsonl")),
    ("deposit", include_str!("../golden/deposit.jsonl")),
];

#[derive(Deserialize)]
struct Line {
    event_version: String,
    payload: Box<RawValue>,
}

/// (aggregate type, version, payload)
fn lines() -> Vec<(&'static str, String, String)> {
    let first = FIRST_PAYMENTS.lines().map(|line| ("payment", "1.0".to_owned(), line.to_owned()));
    let versioned = GOLDEN.into_iter().flat_map(|(aggregate_type, file)| {
        file.lines().map(move |line| {
            let line: Line = serde_json::from_str(line).unwrap();
            (aggregate_type, line.event_version, line.payload.get().to_owned())
        })
    });
    first.chain(versioned).collect()
}

/// The name that a payload carries: `{"<name>": …}`.
fn name(payload: &str) -> &str {
    payload.split('"').nth(1).unwrap()
}

/// The event types that a program of today writes, which is what serde says it would have expected.
fn types<E: DeserializeOwned>() -> Vec<String> {
    let error = serde_json::from_str::<E>(r#"{"?":null}"#).err().unwrap().to_string();
    let names = error.split_once("expected").unwrap().1;
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_version_ever_written_has_a_line() {
    let shown: BTreeSet<_> =
        lines().iter().map(|(_, version, payload)| (name(payload).to_owned(), version.clone())).collect();
    let types = [
        types::<PaymentEvent>(),
        types::<MerchantEvent>(),
        types::<AccessKeyEvent>(),
        types::<ChainEvent>(),
        types::<UnmatchedDepositEvent>(),
    ]
    .concat();
    assert!(types.len() > 20, "{types:?}");
    let written: BTreeSet<_> = types
        .iter()
        .flat_map(|event_type| versions(event_type).map(|version| (event_type.clone(), version.to_owned())))
        .collect();
    assert_eq!(shown, written, "a type or version without a golden line, or a line that nobody reads any more");
}

#[test]
fn every_line_is_read_and_the_current_ones_are_written_so() {
    for (aggregate_type, version, payload) in lines() {
        let event_type = name(&payload);
        let event = decode(aggregate_type, event_type, &version, 1, &payload).unwrap();
        if version == current_version(event_type) {
            let written = match event {
                LedgerEvent::Payment(event) => serde_json::to_string(&event),
                LedgerEvent::Merchant(event) => serde_json::to_string(&event),
                LedgerEvent::Access(event) => serde_json::to_string(&event),
                LedgerEvent::Chain(event) => serde_json::to_string(&event),
                LedgerEvent::Deposit(event) => serde_json::to_string(&event),
            };
            assert_eq!(written.unwrap(), payload);
        }
    }
}
