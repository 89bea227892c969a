//! Events into the stream, fenced.

use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;

use crate::bus::Bus;
use crate::log::StoredEvent;
use crate::subjects;

/// Where ledger and stream stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The last position announced, or passed over.
    pub(crate) position: i64,
    /// The stream's last sequence, as it must be for our next message to be taken.
    pub(crate) sequence: u64,
}

/// Publishes events, all in flight at once, and moves the cursor as far as they were acknowledged without a break.
pub(crate) async fn publish(bus: &Bus, events: &[StoredEvent], cursor: &mut Cursor) -> Result<(), PublishError> {
    let mut sent = Vec::with_capacity(events.len());
    let mut failure = None;
    let mut sequence = cursor.sequence;
    for event in events {
        match send(bus, event, sequence).await {
            Ok(ack) => {
                sequence += u64::from(ack.is_some());
                sent.push((event.position, ack));
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    for (position, ack) in sent {
        if let Some(ack) = ack {
            // A duplicate is in the stream already; the sequence of the next message will not fit, and sets us right.
            cursor.sequence = ack.await?.sequence;
        }
        cursor.position = position;
    }
    failure.map_or(Ok(()), Err)
}

/// Sends one event. `None`: it cannot be announced, and followers will read it.
async fn send(bus: &Bus, event: &StoredEvent, last_sequence: u64) -> Result<Option<PublishAckFuture>, PublishError> {
    let ledger = bus.ledger();
    let Some(payload) = announcement(event) else { return Ok(None) };
    let subject = subjects::event_subject(ledger, &event.aggregate_type, &event.aggregate_id, &event.event_type);
    let message = PublishMessage::build()
        .message_id(subjects::event_message_id(ledger, event.position))
        .header(subjects::POSITION_HEADER, event.position.to_string())
        .expected_last_sequence(last_sequence)
        .payload(payload.into());
    match bus.jetstream().send_publish(subject, message).await {
        Ok(ack) => Ok(Some(ack)),
        Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
            tracing::warn!(position = event.position, "an event is too large for NATS; followers will read it");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// `None` when Postgres holds something that is not JSON to us.
fn announcement(event: &StoredEvent) -> Option<Vec<u8>> {
    serde_json::to_vec(&event.as_ref())
        .inspect_err(|error| tracing::warn!(position = event.position, %error, "an event is not announced"))
        .ok()
}

/// The position of the stream's last message, if it has one that says so.
pub(crate) async fn last_position(stream: &Stream) -> Option<i64> {
    let state = &stream.cached_info().state;
    if state.messages == 0 {
        return None;
    }
    let message = stream.get_raw_message(state.last_sequence).await.ok()?;
    message.headers.get(subjects::POSITION_HEADER)?.as_str().parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test reports by panicking")]
mod tests {
    use wopay_domain::{RawJson, RecordedEvent};

    use super::*;

    fn raw(position: i64) -> StoredEvent {
        StoredEvent {
            position,
            aggregate_type: "payment".to_owned(),
            aggregate_id: "a".to_owned(),
            sequence: position,
            event_type: "PaymentCreated".to_owned(),
            event_version: "1.0".to_owned(),
            payload: "{ \"amount\":\n \"1\" }".to_owned(),
            metadata: "{\"actor\": \"operator\"}".to_owned(),
            recorded_at: "2026-01-02T03:04:05.000678Z".parse().unwrap(),
        }
    }

    fn raw_range(positions: std::ops::RangeInclusive<i64>) -> Vec<StoredEvent> {
        positions.map(raw).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_relay_that_does_not_know_it_was_replaced_is_refused() {
        let nats = wopay_testkit::nats().await;
        let leads = Bus::connect(&nats.url, "main").await.unwrap();
        let led = Bus::connect(&nats.url, "main").await.unwrap();
        let mut cursor = Cursor { position: 0, sequence: 0 };
        let mut stale = cursor;
        publish(&leads, &raw_range(1..=10), &mut cursor).await.unwrap();
        assert_eq!(cursor, Cursor { position: 10, sequence: 10 });

        let error = publish(&led, &raw_range(11..=20), &mut stale).await.unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::WrongLastSequence);
        assert_eq!(stale, Cursor { position: 0, sequence: 0 });
        let stream = leads.ensure_events().await.unwrap();
        assert_eq!(stream.cached_info().state.last_sequence, 10, "nothing of it is stored");
        assert_eq!(last_position(&stream).await, Some(10));

        publish(&leads, &raw_range(11..=1_500), &mut cursor).await.unwrap();
        assert_eq!(cursor, Cursor { position: 1_500, sequence: 1_500 });
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_too_large_for_nats_is_passed_over() {
        let nats = wopay_testkit::nats().await;
        let bus = Bus::connect(&nats.url, "main").await.unwrap();
        let mut events = raw_range(1..=3);
        events[1].payload = format!("\"{}\"", "x".repeat(2 * 1024 * 1024));
        let mut cursor = Cursor { position: 0, sequence: 0 };
        publish(&bus, &events, &mut cursor).await.unwrap();
        assert_eq!(cursor, Cursor { position: 3, sequence: 2 });
    }

    #[test]
    fn an_announcement_reads_as_the_event_that_postgres_holds() {
        let raw = raw(7);
        let read: RecordedEvent = serde_json::from_slice(&announcement(&raw).unwrap()).unwrap();
        let expected = RecordedEvent {
            position: 7,
            aggregate_type: "payment".to_owned(),
            aggregate_id: "a".to_owned(),
            sequence: 7,
            event_type: "PaymentCreated".to_owned(),
            event_version: "1.0".to_owned(),
            payload: RawJson::parse(raw.payload.clone()).unwrap(),
            metadata: RawJson::parse(raw.metadata.clone()).unwrap(),
            recorded_at: raw.recorded_at,
        };
        assert_eq!(read, expected);
    }
}
