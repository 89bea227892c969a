//! Proofs as text, and checking them with nothing but a public key.
//!
//! That an event is in the log: C2SP tlog-proof, with the event's line as its extra data, so that one file shows what was
//! recorded and that it was sealed. That a later log holds all of an earlier one: the body that C2SP tlog-witness asks
//! with.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tlog_tiles::{Hash, check_record, check_tree, record_hash};

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::key::PublicKey;

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// No tree has a longer path.
const HASHES_MAX: usize = 64;

/// Why a proof proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// Not in the format.
    #[error("not a proof: {0}")]
    Malformed(&'static str),
    /// Its checkpoint.
    #[error("the checkpoint is not to be believed")]
    Checkpoint(#[from] CheckpointError),
    /// Neither the proof nor the caller says what is proven.
    #[error("the proof does not hold the event's line: give the event")]
    NoEvent,
    /// The proof is about another line than the one that was given.
    #[error("the proof is about another event than the one given")]
    OtherEvent,
    /// The proof's checkpoint is not the one that was given.
    #[error("the proof leads to another checkpoint ({proven}) than the one given ({given})")]
    OtherCheckpoint {
        /// The size that the proof is for.
        proven: i64,
        /// The size of the one given.
        given: i64,
    },
    /// The hashes do not lead from the event to the checkpoint.
    #[error("the event is not in the log that the checkpoint seals")]
    NotIncluded(#[source] tlog_tiles::Error),
    /// The hashes do not lead from the old checkpoint to the new.
    #[error("the new checkpoint does not contain the old one")]
    Inconsistent(#[source] tlog_tiles::Error),
}

/// That an event stands in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct InclusionProof {
    /// Of the event.
    pub position: i64,
    /// The event's [`line`](crate::leaf::line).
    pub line: Vec<u8>,
    /// From the leaf's sibling to the root's child.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint that the hashes lead to.
    pub checkpoint: String,
}

impl fmt::Display for InclusionProof {
    /// C2SP tlog-proof.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        writeln!(f, "extra {}", BASE64_STANDARD.encode(&self.line))?;
        writeln!(f, "index {}", self.position - 1)?;
        write_hashes(f, &self.hashes)?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// That a log holds all of an earlier one, in the same places.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsistencyProof {
    /// How many events the earlier log has.
    pub old_size: i64,
    /// As of RFC 6962, section 2.1.2.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint of the later log.
    pub checkpoint: String,
}

impl fmt::Display for ConsistencyProof {
    /// The body of C2SP tlog-witness's `add-checkpoint`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        write_hashes(f, &self.hashes)?;
        write!(f, "\n{}", self.checkpoint)
    }
}

fn write_hashes(f: &mut fmt::Formatter<'_>, hashes: &[Hash]) -> fmt::Result {
    hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))
}

/// What a proof proves.
#[derive(Clone, Debug, PartialEq)]
pub struct Proven {
    /// Where the event stands.
    pub position: i64,
    /// The event's line: JSON.
    pub line: String,
    /// The checkpoint that seals it.
    pub checkpoint: SignedCheckpoint,
}

/// Checks a proof without server, database or configuration.
///
/// # Errors
/// See [`ProofError`].
pub fn check_proof(text: &str, key: &PublicKey) -> Result<Proven, ProofError> {
    check_proof_of(text, None, std::slice::from_ref(key))
}

/// [`check_proof`], for an event that the caller has (its line, without a line break) and several keys.
///
/// # Errors
/// See [`ProofError`].
pub fn check_proof_of(text: &str, event: Option<&str>, keys: &[PublicKey]) -> Result<Proven, ProofError> {
    let parsed = Parsed::read(text)?;
    let checkpoint = SignedCheckpoint::open(parsed.checkpoint, keys)?;
    let line = match (event, &parsed.extra) {
        (Some(event), Some(extra)) if event != extra => return Err(ProofError::OtherEvent),
        (Some(event), _) => event.to_owned(),
        (None, Some(extra)) => extra.clone(),
        (None, None) => return Err(ProofError::NoEvent),
    };
    let position = i64::try_from(parsed.index).ok().and_then(|index| index.checked_add(1));
    let position = position.ok_or(ProofError::Malformed("no log is that long"))?;
    // The line names its place, and stands in no other.
    if !line.starts_with(&format!("{{\"position\":{position},")) {
        return Err(ProofError::OtherEvent);
    }
    let size = u64::try_from(checkpoint.size).map_err(|_| CheckpointError::Malformed)?;
    check_record(&parsed.hashes, size, checkpoint.root, parsed.index, record_hash(line.as_bytes()))
        .map_err(ProofError::NotIncluded)?;
    Ok(Proven { position, line, checkpoint })
}

/// Checks that the log of the proof's checkpoint holds all of `old`.
///
/// # Errors
/// See [`ProofError`].
pub fn check_consistency(
    text: &str,
    old: &SignedCheckpoint,
    keys: &[PublicKey],
) -> Result<SignedCheckpoint, ProofError> {
    let (head, checkpoint) = text.split_once("\n\n").ok_or(ProofError::Malformed("it has no checkpoint"))?;
    let mut lines = head.lines();
    let old_size = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(|size| size.parse::<i64>().ok());
    let old_size = old_size.ok_or(ProofError::Malformed("the first line is not \"old\" and a size"))?;
    let hashes = read_hashes(lines)?;
    let new = SignedCheckpoint::open(checkpoint, keys)?;
    if old_size != old.size {
        return Err(ProofError::OtherCheckpoint { proven: old_size, given: old.size });
    }
    let size = |size: i64| u64::try_from(size).map_err(|_| CheckpointError::Malformed);
    check_tree(&hashes, size(new.size)?, new.root, size(old.size)?, old.root).map_err(ProofError::Inconsistent)?;
    Ok(new)
}

struct Parsed<'a> {
    extra: Option<String>,
    index: u64,
    hashes: Vec<Hash>,
    checkpoint: &'a str,
}

impl<'a> Parsed<'a> {
    fn read(text: &'a str) -> Result<Self, ProofError> {
        let malformed = ProofError::Malformed;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(malformed("it has no checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(malformed("the first line is not c2sp.org/tlog-proof@v1"));
        }
        let extra = match lines.next_if(|line| line.starts_with("extra ")) {
            Some(line) => Some(read_extra(line)?),
            None => None,
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(read_index).ok_or(malformed("it names no index"))?;
        Ok(Self { extra, index, hashes: read_hashes(lines)?, checkpoint })
    }
}

fn read_extra(line: &str) -> Result<String, ProofError> {
    let malformed = ProofError::Malformed("its extra data is not a line of text in base64");
    let Some(encoded) = line.strip_prefix("extra ") else { return Err(malformed) };
    let bytes = BASE64_STANDARD.decode(encoded).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(malformed)
}

/// Without leading zeroes, as the format wants it.
fn read_index(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|index| index.to_string() == text)
}

fn read_hashes<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<Hash>, ProofError> {
    let hashes: Vec<Hash> = lines
        .take(HASHES_MAX + 1)
        .map(|line| Hash::parse_hash(line).map_err(|_| ProofError::Malformed("a line is not a hash in base64")))
        .collect::<Result<_, _>>()?;
    if hashes.len() > HASHES_MAX {
        return Err(ProofError::Malformed("it has too many hashes"));
    }
    Ok(hashes)
}
