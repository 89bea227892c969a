//! A ledger with its writer, and a handler that leaves a trace.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_trait::async_trait;
use futures::StreamExt;
use sqlx::{Executor, PgConnection, PgPool};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wopay_domain::RecordedEvent;
use wopay_eventbus::{AppendSignal, Bus, EventHandler, Follower, FollowerStatus, HandlerError, Relay, log, subjects};
use wopay_testkit::{TestDatabase, TestNats, database, eventually, nats};

/// Generous: other builds and tests run on the same cores.
pub(crate) const SOON: Duration = Duration::from_secs(60);
pub(crate) const LEDGER: &str = "main";

/// A ledger with a database, a nats-server and a connection of its own.
pub(crate) struct World {
    pub(crate) database: TestDatabase,
    nats_url: String,
    nats: Option<TestNats>,
    pub(crate) bus: Bus,
    pub(crate) signal: AppendSignal,
}

impl World {
    pub(crate) async fn new() -> Self {
        let nats = nats().await;
        let world = Self::on(&nats.url, LEDGER).await;
        Self { nats: Some(nats), ..world }
    }

    /// Another ledger on the same nats-server.
    pub(crate) async fn beside(&self, ledger: &str) -> Self {
        Self::on(&self.nats_url, ledger).await
    }

    async fn on(nats_url: &str, ledger: &str) -> Self {
        let database = database().await;
        database
            .pool
            .execute(
                "CREATE TABLE trace (
                     ordinal  bigserial,
                     follower text   NOT NULL,
                     position bigint NOT NULL,
                     token    text   NOT NULL,
                     UNIQUE (follower, position)
                 )",
            )
            .await
            .unwrap();
        let bus = Bus::connect(nats_url, ledger).await.unwrap();
        Self { database, nats_url: nats_url.to_owned(), nats: None, bus, signal: AppendSignal::new() }
    }

    pub(crate) fn nats(&mut self) -> &mut TestNats {
        self.nats.as_mut().unwrap()
    }

    /// Connects anew.
    pub(crate) async fn reconnect(&mut self) {
        self.bus = Bus::connect(&self.nats_url, self.bus.ledger()).await.unwrap();
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    pub(crate) fn relay(&self) -> Running {
        self.relay_on(self.pool())
    }

    pub(crate) fn relay_on(&self, pool: &PgPool) -> Running {
        Running::start(|token| Relay::new(pool.clone(), self.bus.clone(), self.signal.clone()).run(token))
    }

    pub(crate) fn follower(&self, handler: &Arc<Tracer>) -> (Running, FollowerStatus) {
        self.follower_on(self.pool(), handler)
    }

    pub(crate) fn follower_on(&self, pool: &PgPool, handler: &Arc<Tracer>) -> (Running, FollowerStatus) {
        let follower = Follower::new(pool.clone(), self.bus.clone(), Arc::clone(handler) as _);
        let status = follower.status();
        (Running::start(|token| follower.run(token)), status)
    }

    /// Appends `count` events in one transaction and gives the signal.
    pub(crate) async fn append(&self, count: i64) -> i64 {
        append(self.pool(), &self.signal, count).await
    }

    /// Appends `count` events, `batch` at a time, in the background.
    pub(crate) fn load(&self, count: i64, batch: i64) -> JoinHandle<()> {
        let (pool, signal) = (self.pool().clone(), self.signal.clone());
        tokio::spawn(async move {
            for _ in 0..count / batch {
                append(&pool, &signal, batch).await;
            }
        })
    }

    /// Waits until follower `name` has applied everything, and checks that it did so exactly once, in order, and with
    /// what the ledger holds.
    pub(crate) async fn assert_applied_exactly_once(&self, name: &str) {
        let head = log::head(self.pool()).await.unwrap();
        eventually(&format!("{name} to apply {head} events"), SOON, async || {
            (self.applied(name).await == head).then_some(())
        })
        .await;
        let wrong: i64 = sqlx::query_scalar(
            "SELECT count(*)
             FROM (SELECT position, token, row_number() OVER (ORDER BY ordinal) AS place FROM trace WHERE follower = $1) AS applied
             LEFT JOIN events USING (position)
             WHERE place <> position OR events.payload ->> 'token' IS DISTINCT FROM applied.token",
        )
        .bind(name)
        .fetch_one(self.pool())
        .await
        .unwrap();
        assert_eq!(wrong, 0, "{name} applied {wrong} of {head} events out of order or with another content");
    }

    pub(crate) async fn applied(&self, name: &str) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM trace WHERE follower = $1").bind(name);
        count.fetch_one(self.pool()).await.unwrap()
    }

    /// Appends until the relay leads and has announced something.
    pub(crate) async fn wait_until_led(&self) {
        eventually("a leader", SOON, async || {
            self.append(1).await;
            self.last_announced().await
        })
        .await;
    }

    /// A plain client, beside the bus.
    pub(crate) async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(&self.nats_url).await.unwrap())
    }

    /// Puts an event into the stream by hand.
    pub(crate) async fn announce(&self, event: &RecordedEvent) {
        let subject = subjects::subject_of(self.bus.ledger(), event);
        let payload = serde_json::to_vec(event).unwrap();
        self.jetstream().await.publish(subject, payload.into()).await.unwrap().await.unwrap();
    }

    /// Waits until follower `name` has dealt with every message there is.
    pub(crate) async fn wait_until_acknowledged(&self, name: &str) {
        let stream = self.jetstream().await.get_stream(subjects::events_stream(self.bus.ledger())).await.unwrap();
        let consumer = format!("{}-{name}", self.bus.ledger());
        eventually("every message to be acknowledged", SOON, async || {
            let info = stream.consumer_info(&consumer).await.unwrap();
            (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
        })
        .await;
    }

    /// The positions in the event stream, in its order.
    pub(crate) async fn announced(&self) -> Vec<i64> {
        let stream = self.jetstream().await.get_stream(subjects::events_stream(self.bus.ledger())).await.unwrap();
        let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
        let consumer = stream.create_consumer(config).await.unwrap();
        let mut left = stream.cached_info().state.messages;
        let mut positions = Vec::new();
        let mut messages = consumer.messages().await.unwrap();
        while left > 0 {
            let message = messages.next().await.unwrap().unwrap();
            let position = message.headers.as_ref().unwrap().get(subjects::POSITION_HEADER).unwrap();
            positions.push(position.as_str().parse().unwrap());
            left -= 1;
        }
        positions
    }

    /// Waits until the stream's last message is the newest event.
    pub(crate) async fn wait_until_announced(&self) {
        let head = log::head(self.pool()).await.unwrap();
        eventually("the newest event in the stream", SOON, async || {
            (self.last_announced().await == Some(head)).then_some(())
        })
        .await;
    }

    pub(crate) async fn last_announced(&self) -> Option<i64> {
        let stream = self.jetstream().await.get_stream(subjects::events_stream(self.bus.ledger())).await.ok()?;
        let last = stream.get_raw_message(stream.cached_info().state.last_sequence).await.ok()?;
        last.headers.get(subjects::POSITION_HEADER)?.as_str().parse().ok()
    }

    pub(crate) async fn wait_until_fed(&self, status: &FollowerStatus) {
        eventually("the follower to be fed by NATS", SOON, async || status.is_fed().then_some(())).await;
    }
}

/// Appends as the write side does: the head's row lock first.
async fn append(pool: &PgPool, signal: &AppendSignal, count: i64) -> i64 {
    let mut tx = pool.begin().await.unwrap();
    let head: i64 = sqlx::query_scalar("UPDATE ledger_head SET position = position + $1 RETURNING position")
        .bind(count)
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         SELECT position, 'payment', gen_random_uuid(), 1, 'PaymentCreated', '1.0',
                json_build_object('token', gen_random_uuid()), json_build_object('actor', 'operator')
         FROM generate_series($1::bigint, $2::bigint) AS position",
    )
    .bind(head - count + 1)
    .bind(head)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    signal.appended(head);
    head
}

/// Something that runs until it is stopped or killed.
pub(crate) struct Running {
    token: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Running {
    fn start<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(CancellationToken) -> F) -> Self {
        let token = CancellationToken::new();
        Self { task: tokio::spawn(run(token.clone())), token }
    }

    /// Stops it the proper way.
    pub(crate) async fn stop(self) {
        self.token.cancel();
        self.task.await.unwrap();
    }

    /// Cuts it off wherever it is.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()), "it had ended by itself");
    }
}

/// Records each event that it applies, in the follower's transaction.
pub(crate) struct Tracer {
    name: &'static str,
    /// Where it says that an event is poison; 0 for nowhere.
    poison: i64,
    /// How often it will still make the database fail.
    failures: AtomicUsize,
    /// While true, it hangs after it has written and before it returns.
    pub(crate) hold: watch::Sender<bool>,
    /// How often it was called.
    pub(crate) calls: AtomicUsize,
    /// The most events it was given at once.
    pub(crate) batch_max: AtomicUsize,
    pub(crate) commits: AtomicI64,
    /// How often what it wrote was refused: what it was given had been applied already.
    pub(crate) refused: AtomicUsize,
}

impl Tracer {
    pub(crate) fn new(name: &'static str) -> Arc<Self> {
        Self::with(name, 0, 0)
    }

    pub(crate) fn with(name: &'static str, poison: i64, failures: usize) -> Arc<Self> {
        Arc::new(Self {
            name,
            poison,
            failures: AtomicUsize::new(failures),
            hold: watch::Sender::new(false),
            calls: AtomicUsize::new(0),
            batch_max: AtomicUsize::new(0),
            commits: AtomicI64::new(0),
            refused: AtomicUsize::new(0),
        })
    }

    pub(crate) fn fail_next(&self, times: usize) {
        self.failures.store(times, Ordering::SeqCst);
    }

    /// Waits until it hangs, having been told to.
    pub(crate) async fn wait_for_call(&self, calls_before: usize) {
        let called = async || (self.calls.load(Ordering::SeqCst) > calls_before).then_some(());
        eventually("a batch to arrive", SOON, called).await;
    }
}

#[async_trait]
impl EventHandler for Tracer {
    fn name(&self) -> &str {
        self.name
    }

    async fn apply(&self, tx: &mut PgConnection, events: &[RecordedEvent]) -> Result<(), HandlerError> {
        self.batch_max.fetch_max(events.len(), Ordering::SeqCst);
        if let Some(event) = events.iter().find(|event| event.position == self.poison) {
            return Err(HandlerError::Poison { position: event.position, source: "it tastes bad".into() });
        }
        let tokens = events.iter().map(|event| {
            let payload: serde_json::Value = event.payload.read().unwrap();
            payload["token"].as_str().unwrap().to_owned()
        });
        let written = sqlx::query(
            "INSERT INTO trace (follower, position, token) SELECT $1, * FROM unnest($2::bigint[], $3::text[])",
        )
        .bind(self.name)
        .bind(events.iter().map(|event| event.position).collect::<Vec<_>>())
        .bind(tokens.collect::<Vec<_>>())
        .execute(&mut *tx)
        .await;
        self.refused.fetch_add(usize::from(written.is_err()), Ordering::SeqCst);
        written?;
        self.calls.fetch_add(1, Ordering::SeqCst);
        let fails = |left: usize| left.checked_sub(1);
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
            sqlx::query("SELECT 1 / 0").execute(&mut *tx).await?;
        }
        self.hold.subscribe().wait_for(|hold| !hold).await.unwrap();
        Ok(())
    }

    async fn committed(&self) {
        self.commits.fetch_add(1, Ordering::SeqCst);
    }
}
