//! Exports: a period of the ledger in files that prove themselves.
//!
//! | file | what |
//! |---|---|
//! | `events.jsonl` | the events, one line each, exactly the lines whose hashes are the leaves of the Merkle log |
//! | `journal.csv` | every journal line of the period |
//! | `statements/*.csv` | per account and asset: opening, lines with running balances, closing |
//! | `checkpoint` | the signed head of the log that covers the period |
//! | `public-key` | the key that signed it |
//! | `proofs/first`, `proofs/last` | inclusion proofs (C2SP tlog-proof) of the first and the last event, for other tools |
//! | `proofs/consistency` | that the log holds all of an older checkpoint, if one was named |
//! | `manifest.json` | SHA-256 of each file, the hashes that join the period to the checkpoint, opening balances, assets |
//!
//! [`check`] needs the folder and nothing else: no server, database or configuration. It promises that every event of the
//! period is in the signed log at its position, none missing and none changed, and that journal and statements follow from
//! them by the rules of double entry. What it cannot promise is said in its report: opening balances of a period that does
//! not begin at position 1 are the exporter's word, and a key that came with the export proves only that it was not changed
//! since whoever holds that key made it.

mod artifact;
mod books;
mod check;
mod manifest;
mod range;
mod write;

pub use check::{CheckError, CheckOptions, CheckReport, Problem, check};
pub use manifest::{FileEntry, Manifest, Opening};
pub use write::{ExportError, ExportOptions, Exported, export};

const EVENTS: &str = "events.jsonl";
const JOURNAL: &str = "journal.csv";
const STATEMENTS: &str = "statements";
const CHECKPOINT: &str = "checkpoint";
const PUBLIC_KEY: &str = "public-key";
const MANIFEST: &str = "manifest.json";
const PROOFS: &str = "proofs";
const FIRST: &str = "proofs/first";
const LAST: &str = "proofs/last";
const CONSISTENCY: &str = "proofs/consistency";
