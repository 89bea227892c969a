//! The write side of one ledger: loads an aggregate, lets the domain decide, appends what follows, and tries again when
//! somebody else was faster.

use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, AggregateContext};
use moka::sync::Cache;
use sqlx::PgPool;
use tokio::sync::{Mutex, MutexGuard};
use wopay_domain::payment::Payment;
use wopay_domain::{Metadata, PaymentId};
use wopay_eventbus::AppendSignal;

use crate::claims::Claim;
use crate::error::{AppendError, ExecuteError};
use crate::store::{Appended, Committer, CommitterOptions, LedgerContext, LedgerStore};

/// Commands on one aggregate take turns in a process instead of conflicting; aggregates share this many turnstiles.
const TURNSTILES: usize = 1024;

/// How a [`Ledger`] works.
#[derive(Clone, Copy, Debug)]
pub struct LedgerOptions {
    /// How appends are grouped and written.
    pub committer: CommitterOptions,
    /// How often a command is tried when others keep changing its aggregate. At least 1.
    pub tries_max: usize,
    /// The first pause between tries; it doubles, with jitter, up to 32 times this.
    pub retry_pause: Duration,
    /// How much is kept in memory of payments that were changed lately, in payments, their deposits and refunds (about half a KiB
    /// each), so that only the news of their streams are read. Nobody can pay tiny sums to an address until reading its
    /// payment takes all the time there is.
    pub hot_entries_max: u64,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            committer: CommitterOptions::default(),
            tries_max: 16,
            retry_pause: Duration::from_millis(2),
            hot_entries_max: 32_768,
        }
    }
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed<S> {
    /// Position of its last event in the ledger; `None` when it changed nothing.
    pub position: Option<i64>,
    /// Sequence of the last event in the aggregate's stream.
    pub sequence: i64,
    /// The aggregate as it is now.
    pub state: S,
}

/// The write side of one ledger. A cheap clone; every clone shares one committer.
#[derive(Clone)]
pub struct Ledger {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) pool: PgPool,
    pub(crate) store: LedgerStore,
    pub(crate) hot_payments: Cache<PaymentId, Arc<LedgerContext<Payment>>>,
    committer: Committer,
    turnstiles: Vec<Mutex<()>>,
    options: LedgerOptions,
}

impl Ledger {
    /// Starts the committer; must be called inside a tokio runtime. `pool` serves reads, and its connection options
    /// (with `search_path`, which names the ledger) the committer's own connection. A pool for this is best made with
    /// `test_before_acquire(false)`.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a signal is a handle, given away like the pool")]
    pub fn start(pool: PgPool, signal: AppendSignal, options: LedgerOptions) -> Self {
        let (queue, committer) = Committer::start(&pool.connect_options(), &signal, options.committer);
        let shared = Shared {
            store: LedgerStore::new(pool.clone(), queue),
            pool,
            hot_payments: Cache::builder().max_capacity(options.hot_entries_max).weigher(weight).build(),
            committer,
            turnstiles: (0..TURNSTILES).map(|_| Mutex::new(())).collect(),
            options,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Refuses new commands, writes those that wait, and ends the committer. For all clones.
    pub async fn shutdown(&self) {
        self.shared.committer.shutdown().await;
    }

    /// The event store, for `cqrs_es::CqrsFramework` and for tools. Appends made through it carry no claims.
    #[must_use]
    pub fn store(&self) -> &LedgerStore {
        &self.shared.store
    }

    /// Waits for this process' turn on an aggregate.
    pub(crate) async fn turn(&self, aggregate_id: &impl Hash) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        aggregate_id.hash(&mut hasher);
        let turnstiles = &self.shared.turnstiles;
        let count = u64::try_from(turnstiles.len()).unwrap_or(u64::MAX).max(1);
        let index = usize::try_from(hasher.finish() % count).unwrap_or(0);
        turnstiles[index].lock().await
    }

    /// Repeats `attempt` while it loses to others.
    pub(crate) async fn retry<T, E, F>(&self, attempt: impl FnMut() -> F) -> Result<T, ExecuteError<E>>
    where
        E: std::error::Error + 'static,
        F: Future<Output = Result<T, ExecuteError<E>>>,
    {
        let options = &self.shared.options;
        let policy = ExponentialBuilder::default()
            .with_min_delay(options.retry_pause)
            .with_max_delay(options.retry_pause * 32)
            .with_jitter()
            .with_max_times(options.tries_max.saturating_sub(1));
        let conflict = |error: &ExecuteError<E>| matches!(error, ExecuteError::Append(AppendError::Conflict { .. }));
        attempt.retry(policy).when(conflict).await.map_err(|error| match error {
            ExecuteError::Append(AppendError::Conflict { .. }) => {
                ExecuteError::Contended { tries: options.tries_max.max(1) }
            }
            error => error,
        })
    }

    /// Decides commands on `context`, one after the other, and appends all that follows at once.
    pub(crate) async fn decide_and_append<A>(
        &self,
        aggregate_id: &str,
        mut context: LedgerContext<A>,
        commands: Vec<A::Command>,
        claims: Vec<Claim>,
        metadata: &Metadata,
    ) -> Result<Decided<A>, ExecuteError<A::Error>>
    where
        A: Aggregate<Services = ()>,
        A::Error: 'static,
    {
        let expected = context.sequence();
        let sink = EventSink::default();
        for command in commands {
            context.aggregate().handle(command, &(), &sink).await.map_err(ExecuteError::Domain)?;
        }
        let events = sink.collect().await;
        if events.is_empty() {
            return Ok(Decided { appended: None, context });
        }
        let store = &self.shared.store;
        let appended = store.append::<A>(aggregate_id, expected, &events, &metadata.to_map(), claims).await;
        let appended = appended.map_err(|error| match error {
            AppendError::ClaimTaken(taken) => ExecuteError::ClaimTaken(taken),
            error => ExecuteError::Append(error),
        })?;
        let context = context.moved_to(appended.sequence);
        Ok(Decided { appended: Some(appended), context })
    }
}

/// A payment, its deposits and its refunds.
fn weight(_: &PaymentId, context: &Arc<LedgerContext<Payment>>) -> u32 {
    let parts =
        context.state().state().map_or(0, |payment| payment.deposits.len().saturating_add(payment.refunds.len()));
    u32::try_from(parts).unwrap_or(u32::MAX).saturating_add(1)
}

/// What commands led to.
pub(crate) struct Decided<A> {
    /// `None` when they changed nothing.
    pub(crate) appended: Option<Appended>,
    /// The aggregate after them.
    pub(crate) context: LedgerContext<A>,
}
