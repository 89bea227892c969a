//! Rows in the binary format of `COPY`.

use wopay_domain::Timestamp;

use super::world::{Claimed, Written};

/// From 1970 to 2000, where Postgres begins to count.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// What `COPY events (…)` takes.
pub(crate) const EVENTS: &str = "COPY events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, \
                                 payload, metadata, recorded_at) FROM STDIN (FORMAT binary)";
/// What `COPY claims (…)` takes.
pub(crate) const CLAIMS: &str = "COPY claims (kind, key, aggregate_id, detail) FROM STDIN (FORMAT binary)";

/// The events, the first of them at `position`.
pub(crate) fn events(events: &[Written], position: i64) -> Vec<u8> {
    let mut rows = Rows::new();
    for (position, event) in (position..).zip(events) {
        rows.row(9);
        rows.integer(position);
        rows.text(event.aggregate_type);
        rows.text(&event.aggregate_id);
        rows.integer(event.sequence);
        rows.text(event.event_type);
        rows.text(&event.event_version);
        rows.text(&event.payload);
        rows.text(&event.metadata);
        rows.time(event.at);
    }
    rows.finish()
}

/// The claims.
pub(crate) fn claims(claims: &[Claimed]) -> Vec<u8> {
    let mut rows = Rows::new();
    for claim in claims {
        rows.row(4);
        rows.text(claim.kind);
        rows.text(&claim.key);
        rows.text(&claim.aggregate_id);
        match &claim.detail {
            Some(detail) => rows.text(detail),
            None => rows.null(),
        }
    }
    rows.finish()
}

struct Rows(Vec<u8>);

impl Rows {
    fn new() -> Self {
        Self(HEADER.to_vec())
    }

    fn row(&mut self, columns: i16) {
        self.0.extend(columns.to_be_bytes());
    }

    fn integer(&mut self, value: i64) {
        self.0.extend(8_i32.to_be_bytes());
        self.0.extend(value.to_be_bytes());
    }

    fn time(&mut self, value: Timestamp) {
        self.integer(value.timestamp_micros() - POSTGRES_EPOCH_MICROS);
    }

    fn text(&mut self, text: &str) {
        // A text of ours is far from 2 GiB.
        self.0.extend(i32::try_from(text.len()).unwrap_or(i32::MAX).to_be_bytes());
        self.0.extend(text.as_bytes());
    }

    fn null(&mut self) {
        self.0.extend((-1_i32).to_be_bytes());
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.extend(TRAILER);
        self.0
    }
}
