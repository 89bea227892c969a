//! A durable pull consumer that is made again whenever it, its stream, or the whole of NATS went away.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::Stream;
use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::backoff::Backoff;
use crate::bus::Bus;
use crate::error::BusError;

/// Without a sign of life for two of these, the consumer counts as lost.
const HEARTBEAT: Duration = Duration::from_secs(1);
const PULL_EXPIRES: Duration = Duration::from_secs(30);
const ATTACH_DELAY_MIN: Duration = Duration::from_millis(20);
const ATTACH_DELAY_MAX: Duration = Duration::from_secs(1);

/// The stream to pull from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// The ledger's events.
    Events,
    /// The commands.
    Commands,
}

/// What to pull.
#[derive(Clone, Debug)]
pub(crate) struct PullPlan {
    pub(crate) source: Source,
    /// With a durable name.
    pub(crate) consumer: pull::Config,
    /// Messages that may wait here unread, and that one request asks for.
    pub(crate) buffered_max: usize,
}

/// A running consumer; ends when dropped.
#[derive(Debug)]
pub(crate) struct Pull {
    /// What arrives. Never closes.
    pub(crate) messages: mpsc::Receiver<Message>,
    /// Whether the consumer is attached now.
    pub(crate) attached: watch::Receiver<bool>,
    _task: AbortOnDropHandle<()>,
}

impl Pull {
    /// Attaches in the background, and again after every loss.
    pub(crate) fn start(bus: Bus, plan: PullPlan) -> Self {
        let (message_tx, messages) = mpsc::channel(plan.buffered_max);
        let (attached_tx, attached) = watch::channel(false);
        let task = tokio::spawn(keep_pulling(bus, plan, message_tx, attached_tx));
        Self { messages, attached, _task: AbortOnDropHandle::new(task) }
    }
}

async fn keep_pulling(bus: Bus, plan: PullPlan, messages: mpsc::Sender<Message>, attached: watch::Sender<bool>) {
    let consumer = plan.consumer.durable_name.as_deref().unwrap_or_default().to_owned();
    let mut delays = Backoff::new(ATTACH_DELAY_MIN, ATTACH_DELAY_MAX);
    let mut was_lost = true;
    while !messages.is_closed() {
        match attach(&bus, &plan).await {
            Ok(mut arriving) => {
                tracing::info!(consumer, "attached to NATS");
                delays.reset();
                was_lost = false;
                attached.send_replace(true);
                let why = forward(&mut arriving, &messages).await;
                attached.send_replace(false);
                tracing::warn!(consumer, why, "lost the consumer in NATS");
            }
            Err(BusError::Disconnected) => {}
            Err(error) if was_lost => {
                tracing::debug!(consumer, error = &error as &dyn std::error::Error, "not attached")
            }
            Err(error) => {
                was_lost = true;
                tracing::warn!(consumer, error = &error as &dyn std::error::Error, "cannot attach to NATS; trying on");
            }
        }
        delays.wait().await;
    }
}

async fn attach(bus: &Bus, plan: &PullPlan) -> Result<pull::Stream, BusError> {
    if !bus.is_connected() {
        return Err(BusError::Disconnected);
    }
    let stream: Stream = match plan.source {
        Source::Events => bus.ensure_events().await?,
        Source::Commands => bus.ensure_commands().await?,
    };
    let name = plan.consumer.durable_name.as_deref().unwrap_or_default();
    let consumer = stream.get_or_create_consumer(name, plan.consumer.clone()).await;
    let consumer = consumer.map_err(BusError::request("create a consumer"))?;
    let pulling =
        consumer.stream().max_messages_per_batch(plan.buffered_max).expires(PULL_EXPIRES).heartbeat(HEARTBEAT);
    pulling.messages().await.map_err(BusError::request("deliver messages"))
}

/// Forwards until the consumer is lost, and says how.
async fn forward(arriving: &mut pull::Stream, messages: &mpsc::Sender<Message>) -> String {
    while let Some(arrived) = arriving.next().await {
        match arrived {
            Ok(message) => {
                if messages.send(message).await.is_err() {
                    return "nobody listens any more".to_owned();
                }
            }
            Err(error) => return error.to_string(),
        }
    }
    "the consumer ended".to_owned()
}
