//! What surrounds an event: who caused it, and where it stands in the ledger.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Timestamp;
use crate::access::AccessKeyEvent;
use crate::chains::ChainEvent;
use crate::deposit::UnmatchedDepositEvent;
use crate::ids::{ApiKeyId, MerchantId};
use crate::merchant::MerchantEvent;
use crate::payment::PaymentEvent;
use crate::upcast::{self, UpcastError};

/// Who caused a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A merchant, through an API key.
    Merchant {
        /// The merchant.
        merchant: MerchantId,
        /// The key used.
        key: ApiKeyId,
    },
    /// Somebody at the command line or console of the installation.
    Operator,
    /// A part of the system, by its role: `watchers/ethereum`, `scheduler`.
    System(String),
}

impl Actor {
    /// `merchant:<id>/key:<id>`, `operator` or `system:<role>`, as kept in metadata.
    #[must_use]
    pub fn as_text(&self) -> String {
        match self {
            Self::Merchant { merchant, key } => format!("merchant:{merchant}/key:{key}"),
            Self::Operator => "operator".to_owned(),
            Self::System(role) => format!("system:{role}"),
        }
    }
}

/// The cause of an event. Stored beside it as a flat map of strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Who.
    pub actor: Actor,
    /// The HTTP request, when there was one.
    pub request_id: Option<String>,
    /// The command, for those who trace it. Repetition is recognized by content, not by this id.
    pub command_id: Option<String>,
}

impl Metadata {
    /// A cause inside the system, without a request.
    #[must_use]
    pub fn system(role: impl Into<String>) -> Self {
        Self { actor: Actor::System(role.into()), request_id: None, command_id: None }
    }

    /// The flat map that is stored: keys `actor`, `request_id`, `command_id`.
    #[must_use]
    pub fn to_map(&self) -> HashMap<String, String> {
        let optional = [("request_id", &self.request_id), ("command_id", &self.command_id)];
        let mut map = HashMap::from([("actor".to_owned(), self.actor.as_text())]);
        map.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))));
        map
    }
}

/// JSON as it was written, for those who pass it on or read it into a type. Equal when the text is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawJson(Box<RawValue>);

impl RawJson {
    /// Takes a text that is JSON.
    ///
    /// # Errors
    /// When it is not.
    pub fn parse(text: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text).map(Self)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Reads it into a type.
    ///
    /// # Errors
    /// When it does not have the type's shape.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// An event as it stands in the ledger, payload not yet read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedEvent {
    /// Position in the ledger's total order: 1, 2, 3 … without a gap.
    pub position: i64,
    /// `payment`, `deposit`, `merchant`, `access_key`, `chain` or another aggregate's type.
    pub aggregate_type: String,
    /// The aggregate's id: a UUID as text, of a chain its name.
    pub aggregate_id: String,
    /// Position in the aggregate's own stream: 1, 2, 3 …
    pub sequence: i64,
    /// The event's name, for example `PaymentCreated`.
    pub event_type: String,
    /// The version of its shape.
    pub event_version: String,
    /// The event itself.
    pub payload: RawJson,
    /// Its cause; see [`Metadata`].
    pub metadata: RawJson,
    /// When Postgres recorded it.
    pub recorded_at: Timestamp,
}

/// An event of any aggregate, read.
#[derive(Clone, Debug, PartialEq)]
pub enum LedgerEvent {
    /// Of a payment.
    Payment(PaymentEvent),
    /// Of a merchant.
    Merchant(MerchantEvent),
    /// Of an access key.
    Access(AccessKeyEvent),
    /// Of a chain.
    Chain(ChainEvent),
    /// Of money that no payment claims.
    Deposit(UnmatchedDepositEvent),
}

/// Why a recorded event cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// An aggregate type that this version does not know.
    #[error("event at position {position} belongs to the unknown aggregate type {aggregate_type:?}")]
    UnknownAggregate {
        /// Where it stands.
        position: i64,
        /// What it claims to be.
        aggregate_type: String,
    },
    /// A payload that does not fit its type.
    #[error("event at position {position} ({event_type} v{event_version}) cannot be read")]
    Payload {
        /// Where it stands.
        position: i64,
        /// Its type.
        event_type: String,
        /// Its version.
        event_version: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A version that this program does not know, most likely written by a newer one.
    #[error(
        "event at position {position} is {event_type} v{event_version}; this program reads v{newest} and older: use a \
         newer one"
    )]
    UnknownVersion {
        /// Where it stands.
        position: i64,
        /// Its type.
        event_type: String,
        /// Its version.
        event_version: String,
        /// The newest version of this type that can be read.
        newest: &'static str,
    },
}

/// Reads an event from its stored parts, borrowed: for those who scan the whole log. Older versions are brought up to the
/// current shape on the way; the current one is read from the text as it is.
///
/// # Errors
/// When the aggregate type or the version is unknown, or the payload does not have the shape of its type. `position` is
/// for the error's message.
pub fn decode(
    aggregate_type: &str,
    event_type: &str,
    event_version: &str,
    position: i64,
    payload: &str,
) -> Result<LedgerEvent, DecodeError> {
    let unreadable = |source| DecodeError::Payload {
        position,
        event_type: event_type.to_owned(),
        event_version: event_version.to_owned(),
        source,
    };
    let text = upcast::text(event_type, event_version, payload).map_err(|error| match error {
        UpcastError::UnknownVersion { event_type, event_version, newest } => {
            DecodeError::UnknownVersion { position, event_type, event_version, newest }
        }
        UpcastError::Json(source) => unreadable(source),
    })?;
    match aggregate_type {
        crate::payment::AGGREGATE_TYPE => serde_json::from_str(&text).map(LedgerEvent::Payment).map_err(unreadable),
        crate::merchant::AGGREGATE_TYPE => serde_json::from_str(&text).map(LedgerEvent::Merchant).map_err(unreadable),
        crate::access::AGGREGATE_TYPE => serde_json::from_str(&text).map(LedgerEvent::Access).map_err(unreadable),
        crate::chains::AGGREGATE_TYPE => serde_json::from_str(&text).map(LedgerEvent::Chain).map_err(unreadable),
        crate::deposit::AGGREGATE_TYPE => serde_json::from_str(&text).map(LedgerEvent::Deposit).map_err(unreadable),
        _ => Err(DecodeError::UnknownAggregate { position, aggregate_type: aggregate_type.to_owned() }),
    }
}

impl RecordedEvent {
    /// Reads the payload, whatever version it was written in; see [`decode`].
    ///
    /// # Errors
    /// When the aggregate type or the version is unknown, or the payload does not have the shape of its type.
    pub fn decode(&self) -> Result<LedgerEvent, DecodeError> {
        let payload = self.payload.as_str();
        decode(&self.aggregate_type, &self.event_type, &self.event_version, self.position, payload)
    }
}
