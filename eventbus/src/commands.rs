//! Commands on their way to a ledger's write side: a work queue in JetStream, at least once.
//!
//! A command may arrive twice, late, and out of order; whoever executes it must not mind. One that was acknowledged to its
//! writer can still be lost with the disk or the stream of NATS, so the writer must be able to say it again.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{AckKind, Message};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use wopay_domain::PaymentId;
use wopay_domain::payment::DepositReport;

use crate::bus::Bus;
use crate::error::BusError;
use crate::pull::{Pull, PullPlan, Source};
use crate::subjects;

/// A delivery that is not answered within this is made again.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const BUFFERED_MAX: usize = 512;
const UNANSWERED_MAX: i64 = 4_096;

/// A watcher says in what state a deposit to a payment is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObserveDeposit {
    /// The payment whose address received it.
    pub payment_id: PaymentId,
    /// What was found.
    pub report: DepositReport,
}

impl ObserveDeposit {
    /// Its kind in the subject.
    pub const KIND: &'static str = "payment.observe_deposit";

    /// The message that carries it; message id `<deposit key>@<revision>`.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn to_message(&self) -> Result<CommandMessage, serde_json::Error> {
        Ok(CommandMessage {
            subject_kind: Self::KIND.to_owned(),
            message_id: format!("{}@{}", self.report.deposit, self.report.revision),
            body: serde_json::to_vec(self)?,
        })
    }

    /// Reads the body of a delivery.
    ///
    /// # Errors
    /// It is not this command.
    pub fn from_body(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }
}

/// A watcher says in what state money is that came to an address of ours and that no payment claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObserveUnmatchedDeposit {
    /// The address that received it.
    pub address: String,
    /// What was found.
    pub report: DepositReport,
}

impl ObserveUnmatchedDeposit {
    /// Its kind in the subject.
    pub const KIND: &'static str = "deposit.observe_unmatched";

    /// Reads the body of a delivery.
    ///
    /// # Errors
    /// It is not this command.
    pub fn from_body(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }
}

/// A command to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandMessage {
    /// `<aggregate>.<command>`, for example `payment.observe_deposit`.
    pub subject_kind: String,
    /// The same id twice within ten minutes is stored once.
    pub message_id: String,
    /// JSON.
    pub body: Vec<u8>,
}

/// A command that arrived.
#[derive(Debug)]
pub struct CommandDelivery {
    /// `<aggregate>.<command>`; empty when the subject names none.
    pub kind: String,
    /// The id its writer gave it.
    pub message_id: Option<String>,
    /// JSON, as far as its writer kept to that.
    pub body: Vec<u8>,
    /// 1 at the first delivery.
    pub attempt: u64,
    /// How to answer.
    pub acker: Acker,
}

impl Bus {
    /// Publishes commands to this ledger, all in flight at once, and waits for the acknowledgement of each. The results
    /// are in the order of `messages`; whatever failed may or may not be stored, and should be published again.
    pub async fn publish_commands(&self, messages: Vec<CommandMessage>) -> Vec<Result<(), BusError>> {
        let mut results = self.publish_once(&messages).await;
        let lost: Vec<usize> = (0..results.len()).filter(|index| is_stream_lost(&results[*index])).collect();
        if lost.is_empty() || self.ensure_commands().await.is_err() {
            return results.into_iter().map(|result| result.map_err(Failure::into_error)).collect();
        }
        let again: Vec<CommandMessage> = lost.iter().map(|index| messages[*index].clone()).collect();
        for (index, result) in lost.into_iter().zip(self.publish_once(&again).await) {
            results[index] = result;
        }
        results.into_iter().map(|result| result.map_err(Failure::into_error)).collect()
    }

    /// Starts to receive this ledger's commands. `durable` names the consumer: those who use the same name share the work.
    /// A ledger has only one such name, as a work queue gives each message to one consumer. Comes back by itself after
    /// every loss.
    #[must_use]
    pub fn command_consumer(&self, durable: &str) -> CommandConsumer {
        let consumer = pull::Config {
            durable_name: Some(subjects::command_consumer(self.ledger(), durable)),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ANSWER_WITHIN,
            max_ack_pending: UNANSWERED_MAX,
            filter_subject: subjects::commands_for(self.ledger()),
            ..pull::Config::default()
        };
        let plan = PullPlan { source: Source::Commands, consumer, buffered_max: BUFFERED_MAX };
        CommandConsumer { ledger: self.ledger().to_owned(), pull: Pull::start(self.clone(), plan) }
    }

    async fn publish_once(&self, messages: &[CommandMessage]) -> Vec<Result<(), Failure>> {
        let mut sent = Vec::with_capacity(messages.len());
        for message in messages {
            sent.push(self.send_command(message).await);
        }
        join_all(sent.into_iter().map(async |sent| match sent?.await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == PublishErrorKind::StreamNotFound => Err(Failure::StreamLost),
            Err(error) => Err(Failure::Other(BusError::request("store a command")(error))),
        }))
        .await
    }

    async fn send_command(&self, message: &CommandMessage) -> Result<PublishAckFuture, Failure> {
        if !self.is_connected() {
            return Err(Failure::Other(BusError::Disconnected));
        }
        let ledger = self.ledger();
        let subject = subjects::command_subject(ledger, &message.subject_kind).map_err(Failure::Other)?;
        let publish = PublishMessage::build()
            .message_id(format!("{ledger}/{}", message.message_id))
            .header(subjects::LEDGER_HEADER, ledger)
            .payload(message.body.clone().into());
        let sent = self.jetstream().send_publish(subject, publish).await;
        sent.map_err(|error| Failure::Other(BusError::request("take a command")(error)))
    }
}

/// Why a command was not stored.
enum Failure {
    /// There is no stream for it.
    StreamLost,
    Other(BusError),
}

impl Failure {
    fn into_error(self) -> BusError {
        match self {
            Self::StreamLost => BusError::request("store a command")("the command stream is missing"),
            Self::Other(error) => error,
        }
    }
}

fn is_stream_lost(result: &Result<(), Failure>) -> bool {
    matches!(result, Err(Failure::StreamLost))
}

/// Receives a ledger's commands; see [`Bus::command_consumer`]. Stops when dropped; what it held unanswered is delivered
/// again, here or elsewhere, after 30 s.
#[derive(Debug)]
pub struct CommandConsumer {
    ledger: String,
    pull: Pull,
}

impl CommandConsumer {
    /// Waits for commands and returns all that are here, at most `max` and at least one. Waits on while NATS is down. Can
    /// be cancelled without losing a message.
    pub async fn next_batch(&mut self, max: usize) -> Vec<CommandDelivery> {
        let mut messages = Vec::new();
        self.pull.messages.recv_many(&mut messages, max.max(1)).await;
        messages.into_iter().map(|message| delivery(&self.ledger, message)).collect()
    }

    /// Whether commands can arrive now.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        *self.pull.attached.borrow()
    }
}

fn delivery(ledger: &str, message: Message) -> CommandDelivery {
    let attempt = message.info().map(|info| u64::try_from(info.delivered).unwrap_or(1)).unwrap_or(1);
    let id = message.headers.as_ref().and_then(|headers| headers.get(async_nats::header::NATS_MESSAGE_ID));
    let prefix = format!("{ledger}/");
    CommandDelivery {
        kind: subjects::command_kind(ledger, &message.subject).unwrap_or_default().to_owned(),
        message_id: id.map(|id| id.as_str()).map(|id| id.strip_prefix(&prefix).unwrap_or(id).to_owned()),
        body: message.payload.to_vec(),
        attempt,
        acker: Acker { message },
    }
}

/// Answers a delivery. An answer that gets lost means one more delivery. Dropped without an answer: the same.
#[derive(Debug)]
pub struct Acker {
    message: Message,
}

impl Acker {
    /// The command is done: it is taken out of the queue.
    pub async fn ack(self) {
        self.answer(AckKind::Ack).await;
    }

    /// Not now: deliver it again after `delay`.
    pub async fn nak(self, delay: Duration) {
        self.answer(AckKind::Nak(Some(delay))).await;
    }

    /// Never: it is taken out of the queue, logged as an error, and counted.
    pub async fn term(self, reason: &str) {
        tracing::error!(subject = %self.message.subject, reason, body = %excerpt(&self.message.payload), "dropped a command");
        metrics::counter!("wopay_eventbus_commands_dropped_total").increment(1);
        self.answer(AckKind::Term).await;
    }

    async fn answer(self, kind: AckKind) {
        if let Err(error) = self.message.ack_with(kind).await {
            tracing::debug!(%error, subject = %self.message.subject, "the answer to a command got lost");
        }
    }
}

fn excerpt(body: &[u8]) -> String {
    const BYTES_MAX: usize = 1_024;
    String::from_utf8_lossy(&body[..body.len().min(BYTES_MAX)]).into_owned()
}
