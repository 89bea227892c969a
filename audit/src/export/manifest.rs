//! What an export says of itself.

use serde::{Deserialize, Serialize};
use wopay_domain::ledger::Account;
use wopay_domain::{Asset, AssetId, Timestamp};

use crate::replay::Balance;

/// The only format there is.
pub(super) const FORMAT: &str = "wopay-audit-export/1";

/// `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `wopay-audit-export/1`.
    pub format: String,
    /// The version of `wopay` that made it.
    pub made_by: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// The log, as its checkpoints name it.
    pub origin: String,
    /// The first position in it.
    pub from_position: i64,
    /// The last position in it.
    pub to_position: i64,
    /// How many events the checkpoint covers.
    pub checkpoint_size: i64,
    /// The root of the tree over them, base64.
    pub checkpoint_root: String,
    /// The subtrees beside the period, from the left, base64: with the period's leaves they give the root.
    pub range_proof: Vec<String>,
    /// What accounts held before the period; empty for a period from position 1.
    pub openings: Vec<Opening>,
    /// Symbols and decimals by which amounts are shown.
    pub assets: Vec<Asset>,
    /// Every other file of the export.
    pub files: Vec<FileEntry>,
}

/// What an account held before the period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The account.
    pub account: Account,
    /// The asset.
    pub asset: AssetId,
    /// Sums of debits and credits, minor units.
    #[serde(flatten)]
    pub sums: Balance,
}

/// A file of the export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its path in the export, with `/`.
    pub path: String,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
    /// How many bytes.
    pub bytes: u64,
    /// How many lines, headers included, for those made of lines.
    pub rows: Option<u64>,
}
