//! One command's share of an append: what is to be written, checked and serialized before it enters the queue, so that
//! the committer only moves texts and no append can make a group fail that others share.

use std::collections::{BTreeMap, HashMap, HashSet};

use cqrs_es::DomainEvent;

use crate::claims::{Claim, KEY_BYTES_MAX};
use crate::error::{AppendError, InvalidAppend};

/// The most events one command may append, and the most a group holds.
pub const EVENTS_MAX: usize = 512;
/// The most bytes (events and metadata) one command may append, and the most a group holds.
pub const BYTES_MAX: usize = 4 << 20;

/// Events and claims of one command, ready to be written.
#[derive(Clone, Debug)]
pub struct Append {
    pub(super) aggregate_type: &'static str,
    pub(super) aggregate_id: String,
    /// The last sequence that the command was decided on; 0 for a new stream.
    pub(super) expected: i64,
    pub(super) events: Vec<SerializedEvent>,
    /// JSON text, the same for every event of the command.
    pub(super) metadata: String,
    pub(super) claims: Vec<Claim>,
    bytes: usize,
}

/// An event as text.
#[derive(Clone, Debug)]
pub(super) struct SerializedEvent {
    pub(super) name: String,
    pub(super) version: String,
    /// JSON.
    pub(super) payload: String,
}

/// Where a command's events were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Position of its last event in the ledger.
    pub position: i64,
    /// Sequence of its last event in the aggregate's stream.
    pub sequence: i64,
}

impl Append {
    /// Serializes and checks what a command wants to write behind `expected` (0 for a new stream).
    ///
    /// # Errors
    /// [`AppendError::Invalid`] when it can never be written: no events, too many or too large ones, a claim twice, an
    /// unusable id or key.
    pub fn new<E: DomainEvent>(
        aggregate_type: &'static str,
        aggregate_id: &str,
        expected: i64,
        events: &[E],
        metadata: &HashMap<String, String>,
        claims: Vec<Claim>,
    ) -> Result<Self, AppendError> {
        let json = |error: serde_json::Error| InvalidAppend::Json(error.to_string());
        let invalid = AppendError::Invalid;
        check_count(events.len()).map_err(invalid)?;
        check_key("aggregate id", aggregate_id).map_err(invalid)?;
        check_claims(&claims).map_err(invalid)?;
        // Sorted: the same cause is the same text.
        let metadata: BTreeMap<_, _> = metadata.iter().collect();
        let metadata = serde_json::to_string(&metadata).map_err(json).map_err(invalid)?;
        let events = events.iter().map(SerializedEvent::new).collect::<Result<Vec<_>, _>>().map_err(json);
        let events = events.map_err(invalid)?;
        let bytes = events.iter().map(|event| event.payload.len() + metadata.len()).sum();
        if bytes > BYTES_MAX {
            return Err(invalid(InvalidAppend::TooLarge { got: bytes, max: BYTES_MAX }));
        }
        Ok(Self { aggregate_type, aggregate_id: aggregate_id.to_owned(), expected, events, metadata, claims, bytes })
    }

    /// Sequence of its last event, once it is written.
    pub(super) fn last_sequence(&self) -> i64 {
        (self.expected..).nth(self.events.len()).unwrap_or(i64::MAX)
    }

    /// How many events it writes.
    pub(super) fn event_count(&self) -> usize {
        self.events.len()
    }

    /// How many bytes it writes, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl SerializedEvent {
    fn new<E: DomainEvent>(event: &E) -> Result<Self, serde_json::Error> {
        let payload = serde_json::to_string(event)?;
        Ok(Self { name: event.event_type(), version: event.event_version(), payload })
    }
}

fn check_count(events: usize) -> Result<(), InvalidAppend> {
    match events {
        0 => Err(InvalidAppend::Empty),
        1..=EVENTS_MAX => Ok(()),
        got => Err(InvalidAppend::TooManyEvents { got, max: EVENTS_MAX }),
    }
}

/// Postgres' `text` holds no NUL and an index entry has a limit: either would fail the whole group.
fn check_key(what: &'static str, key: &str) -> Result<(), InvalidAppend> {
    let usable = (1..=KEY_BYTES_MAX).contains(&key.len()) && !key.contains('\0');
    if usable { Ok(()) } else { Err(InvalidAppend::Key(what)) }
}

fn check_claims(claims: &[Claim]) -> Result<(), InvalidAppend> {
    let mut seen = HashSet::with_capacity(claims.len());
    for claim in claims {
        check_key(claim.kind().as_str(), claim.key())?;
        if !seen.insert((claim.kind(), claim.key())) {
            return Err(InvalidAppend::DoubledClaim(claim.kind().as_str()));
        }
    }
    Ok(())
}
