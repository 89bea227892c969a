//! The event store: streams read through `postgres_es`, appends of our own.
//!
//! Why not postgres-es' persistence: it writes one event per statement and one transaction per command, knows no
//! positions and no claims, and its aggregate stores apply events twice. What it is good for, reading a stream, is used.

mod append;
mod committer;
mod connection;
mod group;
mod intake;
mod json_text;
mod lane;
mod query;

use std::collections::HashMap;
use std::sync::Arc;

use cqrs_es::persist::{PersistedEventRepository, PersistenceError};
use cqrs_es::{Aggregate, AggregateContext, AggregateError, EventEnvelope, EventStore};
use postgres_es::PostgresEventRepository;
use sqlx::PgPool;
use wopay_domain::upcast::{self, UpcastError};

pub use append::{Append, Appended, BYTES_MAX, EVENTS_MAX};
pub(crate) use committer::Committer;
pub use committer::CommitterOptions;
pub use intake::Queue;
pub(crate) use query::{access_key_ids, begun_chains, chain_ids, find_claim, watched_assets};

use crate::claims::Claim;
use crate::error::{AppendError, LoadError};

/// The event store of one ledger, for aggregates of every type. A cheap clone.
#[derive(Clone)]
pub struct LedgerStore {
    repository: Arc<PostgresEventRepository>,
    pool: PgPool,
    queue: Queue,
}

/// An aggregate as loaded, and what it was loaded from.
#[derive(Clone, Debug)]
pub struct LedgerContext<A> {
    aggregate_id: String,
    aggregate: A,
    sequence: i64,
}

impl<A: Aggregate> LedgerContext<A> {
    /// An aggregate without a stream.
    pub fn new(aggregate_id: impl Into<String>) -> Self {
        Self::at(aggregate_id, A::default(), 0)
    }

    /// An aggregate as it is known to be after `sequence`.
    pub fn at(aggregate_id: impl Into<String>, aggregate: A, sequence: i64) -> Self {
        Self { aggregate_id: aggregate_id.into(), aggregate, sequence }
    }

    /// The last sequence of the stream, 0 when there is none.
    #[must_use]
    pub const fn sequence(&self) -> i64 {
        self.sequence
    }

    /// The same aggregate, to which all events up to `sequence` have been applied.
    pub(crate) fn moved_to(self, sequence: i64) -> Self {
        Self { sequence, ..self }
    }

    /// The aggregate as it is at that sequence.
    pub const fn state(&self) -> &A {
        &self.aggregate
    }
}

impl<A: Aggregate> AggregateContext<A> for LedgerContext<A> {
    fn aggregate(&mut self) -> &mut A {
        &mut self.aggregate
    }
}

impl LedgerStore {
    /// A store that reads from `pool` and appends through `queue`.
    #[must_use]
    pub fn new(pool: PgPool, queue: Queue) -> Self {
        Self { repository: Arc::new(PostgresEventRepository::new(pool.clone())), pool, queue }
    }

    /// The aggregate as its stream says; a fresh one when there is no stream.
    ///
    /// # Errors
    /// When the database does not answer or the stream cannot be understood.
    pub async fn load<A: Aggregate>(&self, aggregate_id: &str) -> Result<LedgerContext<A>, LoadError> {
        let envelopes = self.read_stream::<A>(aggregate_id).await?;
        let mut context = LedgerContext::<A>::new(aggregate_id);
        for envelope in envelopes {
            context.aggregate.apply(envelope.payload);
            context.sequence += 1;
        }
        Ok(context)
    }

    /// The aggregate with the events that its stream has got since `known`.
    ///
    /// # Errors
    /// When the database does not answer or the stream cannot be understood.
    pub async fn catch_up<A: Aggregate>(&self, known: LedgerContext<A>) -> Result<LedgerContext<A>, LoadError> {
        let mut context = known;
        let tail = query::read_tail(&self.pool, A::TYPE, &context.aggregate_id, context.sequence).await;
        for (sequence, event_type, version, payload) in tail.map_err(|error| LoadError::Database(error.into()))? {
            let payload = upcast::text(&event_type, &version, &payload).map_err(unreadable)?;
            let event = serde_json::from_str(&payload).map_err(|error| LoadError::Corrupt(error.into()))?;
            if sequence != context.sequence + 1 {
                let what = format!("{} {} has no event before {sequence}", A::TYPE, context.aggregate_id);
                return Err(LoadError::Corrupt(what.into()));
            }
            context.aggregate.apply(event);
            context.sequence = sequence;
        }
        Ok(context)
    }

    /// Appends events behind `expected`, the last sequence they were decided on (0 for a new stream), with their claims:
    /// all or nothing. Answers after the commit.
    ///
    /// # Errors
    /// See [`AppendError`]: a conflict when the stream has moved on, a taken claim, or a failure.
    pub async fn append<A: Aggregate>(
        &self,
        aggregate_id: &str,
        expected: i64,
        events: &[A::Event],
        metadata: &HashMap<String, String>,
        claims: Vec<Claim>,
    ) -> Result<Appended, AppendError> {
        self.queue.append(Append::new(A::TYPE, aggregate_id, expected, events, metadata, claims)?).await
    }

    async fn read_stream<A: Aggregate>(&self, aggregate_id: &str) -> Result<Vec<EventEnvelope<A>>, LoadError> {
        let mut stored = self.repository.get_events::<A>(aggregate_id).await.map_err(load_error)?;
        for (wanted, event) in (1..).zip(&mut stored) {
            if event.sequence != wanted {
                let what = format!("{} {aggregate_id} has no event {wanted}", A::TYPE);
                return Err(LoadError::Corrupt(what.into()));
            }
            let payload = event.payload.take();
            event.payload = upcast::value(&event.event_type, &event.event_version, payload).map_err(unreadable)?;
        }
        let envelopes = stored.into_iter().map(EventEnvelope::try_from).collect::<Result<Vec<_>, _>>();
        envelopes.map_err(load_error)
    }
}

fn unreadable(error: UpcastError) -> LoadError {
    LoadError::Corrupt(error.into())
}

fn load_error(error: PersistenceError) -> LoadError {
    match error {
        PersistenceError::ConnectionError(source) | PersistenceError::UnknownError(source) => {
            LoadError::Database(source)
        }
        PersistenceError::DeserializationError(source) => LoadError::Corrupt(source),
        PersistenceError::OptimisticLockError => LoadError::Database(Box::new(error)),
    }
}

impl<A: Aggregate> EventStore<A> for LedgerStore {
    type AC = LedgerContext<A>;

    async fn load_events(&self, aggregate_id: &str) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        self.read_stream::<A>(aggregate_id).await.map_err(aggregate_load_error)
    }

    async fn load_aggregate(&self, aggregate_id: &str) -> Result<Self::AC, AggregateError<A::Error>> {
        self.load::<A>(aggregate_id).await.map_err(aggregate_load_error)
    }

    async fn commit(
        &self,
        events: Vec<A::Event>,
        context: Self::AC,
        metadata: HashMap<String, String>,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let committed = self.append::<A>(&context.aggregate_id, context.sequence, &events, &metadata, Vec::new()).await;
        committed.map_err(aggregate_append_error)?;
        let first = usize::try_from(context.sequence).unwrap_or(0) + 1;
        let envelope = |(sequence, payload)| EventEnvelope {
            aggregate_id: context.aggregate_id.clone(),
            sequence,
            payload,
            metadata: metadata.clone(),
        };
        Ok((first..).zip(events).map(envelope).collect())
    }
}

fn aggregate_load_error<E: std::error::Error>(error: LoadError) -> AggregateError<E> {
    match error {
        LoadError::Database(source) => AggregateError::DatabaseConnectionError(source),
        LoadError::Corrupt(source) => AggregateError::DeserializationError(source),
    }
}

fn aggregate_append_error<E: std::error::Error>(error: AppendError) -> AggregateError<E> {
    match error {
        AppendError::Conflict { .. } | AppendError::ClaimTaken(_) => AggregateError::AggregateConflict,
        AppendError::Unavailable(_) | AppendError::OutcomeUnknown(_) => {
            AggregateError::DatabaseConnectionError(Box::new(error))
        }
        AppendError::Invalid(_) | AppendError::Rejected(_) | AppendError::Overloaded | AppendError::ShuttingDown => {
            AggregateError::UnexpectedError(Box::new(error))
        }
    }
}
