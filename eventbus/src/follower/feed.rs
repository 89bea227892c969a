//! What NATS brings to a follower. Nothing here is believed: the batch is checked against the log.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use wopay_domain::RecordedEvent;

use crate::bus::Bus;
use crate::pull::{Pull, PullPlan, Source};
use crate::subjects;

/// A message that is not acknowledged within this is delivered again, to this instance or another.
const ACK_WITHIN: Duration = Duration::from_secs(10);
const UNACKNOWLEDGED_MAX: i64 = 8_192;
/// A consumer that nobody has used for so long is removed: who comes back later reads the log first anyway.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5 * 60);

/// Starts the durable consumer of follower `name`.
pub(crate) fn start(bus: &Bus, name: &str, buffered_max: usize) -> Pull {
    let consumer = pull::Config {
        durable_name: Some(subjects::follower_consumer(bus.ledger(), name)),
        // What was announced before is read from the log, which is faster.
        deliver_policy: DeliverPolicy::New,
        // One acknowledgement a batch. What it covers and we have not seen, another instance has or the log holds.
        ack_policy: AckPolicy::All,
        ack_wait: ACK_WITHIN,
        max_ack_pending: UNACKNOWLEDGED_MAX,
        filter_subject: subjects::all_events(bus.ledger()),
        inactive_threshold: FORGOTTEN_AFTER,
        ..pull::Config::default()
    };
    Pull::start(bus.clone(), PullPlan { source: Source::Events, consumer, buffered_max })
}

/// The events in these messages. What is not an event is left out, logged and counted.
pub(crate) fn decode(messages: &[Message]) -> Vec<RecordedEvent> {
    messages.iter().filter_map(|message| match serde_json::from_slice(&message.payload) {
        Ok(event) => Some(event),
        Err(error) => {
            tracing::warn!(subject = %message.subject, %error, "a message in the event stream is no event; ignored");
            metrics::counter!("wopay_eventbus_foreign_messages_total").increment(1);
            None
        }
    })
    .collect()
}

/// Acknowledges messages that are dealt with, by the newest of them. An acknowledgement that gets lost means duplicates,
/// which are dropped.
pub(crate) async fn acknowledge(messages: &[Message]) {
    let sequence = |message: &&Message| message.info().map_or(0, |info| info.stream_sequence);
    let Some(newest) = messages.iter().max_by_key(sequence) else { return };
    if let Err(error) = newest.ack().await {
        tracing::debug!(%error, "an acknowledgement got lost");
    }
}
