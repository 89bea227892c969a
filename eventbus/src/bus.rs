//! The connection to NATS.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, ConnectOptions, ServerAddr, jetstream};
use percent_encoding::percent_decode_str;

use crate::error::BusError;
use crate::subjects;

/// For the first attempt; later ones go on in the background.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Two unanswered pings end a connection whose server hangs.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// For an answer of JetStream, an acknowledgement of a publish too.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const RECONNECT_DELAY_MAX: Duration = Duration::from_millis(500);
/// Publishes that may wait for their acknowledgements at one time.
const PUBLISHES_IN_FLIGHT_MAX: usize = 8_192;

/// A connection to NATS for one ledger. Cheap to clone.
///
/// Reconnects for ever by itself. While NATS is down everything here answers with an error, and callers fall back to
/// Postgres or try again.
#[derive(Clone)]
pub struct Bus {
    inner: Arc<Inner>,
}

struct Inner {
    ledger: String,
    client: Client,
    jetstream: jetstream::Context,
}

impl Bus {
    /// Connects, and creates the ledger's event stream and the command stream where they are missing. A NATS that is down
    /// is no error: the connection is made, and the streams are, when it comes up. Waits 3 s at most.
    ///
    /// # Errors
    /// The address is not one, or the ledger's name cannot be part of a subject.
    pub async fn connect(nats_url: &str, ledger: &str) -> Result<Self, BusError> {
        subjects::check_ledger_name(ledger)?;
        let address: ServerAddr = nats_url.parse().map_err(|error: std::io::Error| BusError::Address(error.into()))?;
        let options = authenticate(options(ledger), &address)?;
        let client = options.connect(address).await.map_err(|error| BusError::Address(error.into()))?;
        let jetstream = ContextBuilder::new()
            .timeout(ANSWER_WITHIN)
            .max_ack_inflight(PUBLISHES_IN_FLIGHT_MAX)
            .backpressure_on_inflight(true)
            .build(client.clone());
        let bus = Self { inner: Arc::new(Inner { ledger: ledger.to_owned(), client, jetstream }) };
        match tokio::time::timeout(CONNECT_WITHIN, bus.ensure_streams()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "NATS is not ready; going on without")
            }
            Err(_) => tracing::warn!(waited = ?CONNECT_WITHIN, "NATS does not answer; going on without"),
        }
        Ok(bus)
    }

    /// The ledger's name.
    #[must_use]
    pub fn ledger(&self) -> &str {
        &self.inner.ledger
    }

    /// Whether there is a connection now. A server that hangs counts as connected for some seconds.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.inner.client.connection_state() == State::Connected
    }

    pub(crate) fn jetstream(&self) -> &jetstream::Context {
        &self.inner.jetstream
    }

    async fn ensure_streams(&self) -> Result<(), BusError> {
        self.ensure_events().await?;
        self.ensure_commands().await?;
        Ok(())
    }
}

impl fmt::Debug for Bus {
    /// Without the client: it would show the address, and with it the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("ledger", &self.inner.ledger).field("connected", &self.is_connected()).finish()
    }
}

fn options(ledger: &str) -> ConnectOptions {
    ConnectOptions::new()
        .name(format!("wopay/{ledger}"))
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(CONNECT_WITHIN)
        .ping_interval(PING_INTERVAL)
        .request_timeout(Some(ANSWER_WITHIN))
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(|event| async move { tracing::info!(%event, "NATS connection") })
}

/// The client does not take user and password from the address by itself.
fn authenticate(options: ConnectOptions, address: &ServerAddr) -> Result<ConnectOptions, BusError> {
    let Some(user) = address.username() else { return Ok(options) };
    let decode = |text: &str| percent_decode_str(text).decode_utf8().map(|text| text.into_owned());
    let undecodable = |error: std::str::Utf8Error| BusError::Address(error.into());
    let user = decode(user).map_err(undecodable)?;
    let password = decode(address.password().unwrap_or_default()).map_err(undecodable)?;
    Ok(options.user_and_password(user, password))
}

fn reconnect_delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts).unwrap_or(u32::MAX).min(10);
    Duration::from_millis(2).saturating_mul(2_u32.saturating_pow(doublings)).min(RECONNECT_DELAY_MAX)
}
