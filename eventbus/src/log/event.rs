//! An event as Postgres holds it, payload and metadata unread.

use chrono::DateTime;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use sqlx::FromRow;
use wopay_domain::envelope::{self, DecodeError};
use wopay_domain::{LedgerEvent, RawJson, RecordedEvent, Timestamp};

/// An event with its texts as Postgres holds them, byte for byte. As JSON it is a [`RecordedEvent`]; that fails when
/// payload or metadata are not JSON to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EventRef<'a> {
    /// Position in the ledger's total order.
    pub position: i64,
    /// `payment`, `merchant` …
    pub aggregate_type: &'a str,
    /// The aggregate's id.
    pub aggregate_id: &'a str,
    /// Position in the aggregate's own stream.
    pub sequence: i64,
    /// The event's name.
    pub event_type: &'a str,
    /// The version of its shape.
    pub event_version: &'a str,
    /// The event itself, as stored.
    #[serde(serialize_with = "as_json")]
    pub payload: &'a str,
    /// Its cause, as stored.
    #[serde(serialize_with = "as_json")]
    pub metadata: &'a str,
    /// When Postgres recorded it: microseconds since 1970, UTC.
    #[serde(rename = "recorded_at", serialize_with = "as_timestamp")]
    pub recorded_at_micros: i64,
}

impl EventRef<'_> {
    /// When Postgres recorded it. A time that only Postgres can express (`infinity`) becomes the nearest that we can.
    #[must_use]
    pub fn recorded_at(&self) -> Timestamp {
        timestamp(self.recorded_at_micros)
    }

    /// Reads the event from its text, in place. Metadata are not looked at.
    ///
    /// # Errors
    /// As [`RecordedEvent::decode`].
    pub fn decode(&self) -> Result<LedgerEvent, DecodeError> {
        envelope::decode(self.aggregate_type, self.event_type, self.event_version, self.position, self.payload)
    }

    /// A copy that owns its texts.
    ///
    /// # Errors
    /// Payload or metadata are not JSON to us.
    pub fn to_recorded(&self) -> Result<RecordedEvent, DecodeError> {
        let json = |text: &str| {
            RawJson::parse(text.to_owned()).map_err(|source| DecodeError::Payload {
                position: self.position,
                event_type: self.event_type.to_owned(),
                event_version: self.event_version.to_owned(),
                source,
            })
        };
        Ok(RecordedEvent {
            position: self.position,
            aggregate_type: self.aggregate_type.to_owned(),
            aggregate_id: self.aggregate_id.to_owned(),
            sequence: self.sequence,
            event_type: self.event_type.to_owned(),
            event_version: self.event_version.to_owned(),
            payload: json(self.payload)?,
            metadata: json(self.metadata)?,
            recorded_at: self.recorded_at(),
        })
    }
}

/// An [`EventRef`] that owns its texts: a row of the log.
#[derive(Debug, FromRow)]
pub(crate) struct StoredEvent {
    pub(crate) position: i64,
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: String,
    pub(crate) sequence: i64,
    pub(crate) event_type: String,
    pub(crate) event_version: String,
    pub(crate) payload: String,
    pub(crate) metadata: String,
    pub(crate) recorded_at: Timestamp,
}

impl StoredEvent {
    pub(crate) fn as_ref(&self) -> EventRef<'_> {
        EventRef {
            position: self.position,
            aggregate_type: &self.aggregate_type,
            aggregate_id: &self.aggregate_id,
            sequence: self.sequence,
            event_type: &self.event_type,
            event_version: &self.event_version,
            payload: &self.payload,
            metadata: &self.metadata,
            recorded_at_micros: self.recorded_at.timestamp_micros(),
        }
    }
}

impl TryFrom<StoredEvent> for RecordedEvent {
    type Error = serde_json::Error;

    fn try_from(event: StoredEvent) -> Result<Self, Self::Error> {
        Ok(Self {
            position: event.position,
            aggregate_type: event.aggregate_type,
            aggregate_id: event.aggregate_id,
            sequence: event.sequence,
            event_type: event.event_type,
            event_version: event.event_version,
            payload: RawJson::parse(event.payload)?,
            metadata: RawJson::parse(event.metadata)?,
            recorded_at: event.recorded_at,
        })
    }
}

fn timestamp(micros: i64) -> Timestamp {
    let beyond = if micros < 0 { DateTime::<chrono::Utc>::MIN_UTC } else { DateTime::<chrono::Utc>::MAX_UTC };
    DateTime::from_timestamp_micros(micros).unwrap_or(beyond)
}

fn as_json<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serde_json::from_str::<&RawValue>(text).map_err(S::Error::custom)?.serialize(serializer)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn as_timestamp<S: Serializer>(micros: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    timestamp(*micros).serialize(serializer)
}
