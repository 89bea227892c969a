//! What a check finds.

use std::io;
use std::path::PathBuf;

use serde::Serialize;
use wopay_domain::ledger::Account;

use super::super::books::BooksError;
use super::super::manifest::FORMAT;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// The log.
    pub origin: String,
    /// The first position.
    pub from_position: i64,
    /// The last position.
    pub to_position: i64,
    /// How many events the checkpoint covers.
    pub checkpoint_size: i64,
    /// The key that signed it.
    pub public_key: String,
    /// Whether that key came from somewhere else than the export.
    pub key_was_given: bool,
    /// Whether the log was shown to hold all of a checkpoint that the auditor keeps.
    pub holds_trusted_checkpoint: bool,
    /// Whether opening balances follow from the export itself: it begins at position 1.
    pub openings_are_proven: bool,
    /// Files that were checked.
    pub files: usize,
    /// SHA-256 of the manifest, hex.
    pub manifest_sha256: String,
    /// What is wrong; empty when all is well.
    pub problems: Vec<Problem>,
}

/// Something that is wrong with an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum Problem {
    /// A file that the manifest names is not there.
    #[error("{path} is missing")]
    Missing {
        /// Which.
        path: String,
    },
    /// A file that the manifest does not name.
    #[error("{path} is not in the manifest")]
    Unlisted {
        /// Which.
        path: String,
    },
    /// A file has other bytes than the manifest says.
    #[error("{path} was changed")]
    Changed {
        /// Which.
        path: String,
    },
    /// A file does not follow from the events.
    #[error("{path} does not follow from the events")]
    DoesNotFollow {
        /// Which.
        path: String,
    },
    /// The checkpoint is not signed by the key, or is not the manifest's.
    #[error("the checkpoint is not to be believed: {reason}")]
    Checkpoint {
        /// Why.
        reason: String,
    },
    /// The key in the export is not the one that was given.
    #[error("the export's key is {found}, not the one that was given")]
    OtherKey {
        /// What it is.
        found: String,
    },
    /// An event is missing, doubled or out of place.
    #[error("line {line} of events.jsonl is not the event at position {expected}")]
    OutOfPlace {
        /// The line, from 1.
        line: i64,
        /// The position that belongs there.
        expected: i64,
    },
    /// There are more or fewer events than the manifest says.
    #[error("events.jsonl ends at position {last}, the period at {expected}")]
    Length {
        /// The last position found.
        last: i64,
        /// The last one of the period.
        expected: i64,
    },
    /// A line that is no event, or one that cannot be read.
    #[error("line {line} of events.jsonl cannot be read: {reason}")]
    Unreadable {
        /// The line, from 1.
        line: i64,
        /// Why.
        reason: String,
    },
    /// The events do not lead to the signed root.
    #[error("the events of the period are not those that were sealed")]
    Root,
    /// A proof does not hold.
    #[error("{path} proves nothing: {reason}")]
    Proof {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// Debits and credits differ.
    #[error("debits and credits of {asset} ({layer}) differ")]
    Unbalanced {
        /// The asset.
        asset: String,
        /// The layer.
        layer: String,
    },
    /// A period from position 1 opens with balances, or an account is opened twice.
    #[error("the opening balance of {account} cannot be: nothing precedes the period")]
    Opening {
        /// The account.
        account: Account,
    },
    /// An asset has other decimals or another symbol in the manifest than in the events.
    #[error("the manifest's {asset} is not that of the events")]
    Asset {
        /// The asset.
        asset: String,
    },
}

/// Why an export cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The manifest is none.
    #[error("{} is no manifest of an export", path.display())]
    Manifest {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A format of another program.
    #[error("the export has format {0:?}; this program reads {FORMAT:?}")]
    Format(String),
    /// The manifest's numbers contradict themselves.
    #[error("the manifest's period and checkpoint contradict each other")]
    Period,
    /// Journal or statements cannot be made again.
    #[error("journal and statements cannot be made again: {0}")]
    Books(String),
}

impl From<BooksError> for CheckError {
    fn from(error: BooksError) -> Self {
        Self::Books(error.to_string())
    }
}
