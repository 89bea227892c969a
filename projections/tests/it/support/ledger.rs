//! A ledger whose events come from the domain's own decisions, and a follower without a bus.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::PgPool;
use wopay_domain::deposit::{self, UnmatchedDeposit, UnmatchedDepositCommand, UnmatchedDepositError};
use wopay_domain::merchant::{self, Merchant, MerchantCommand, MerchantError};
use wopay_domain::payment::{self, Payment, PaymentCommand, PaymentError, PaymentEvent};
use wopay_domain::{
    DepositId, DepositKey, LedgerEvent, MerchantId, Metadata, PaymentId, RecordedEvent, SecretRef, upcast,
};
use wopay_eventbus::{EventHandler, HandlerError, checkpoint, log};
use wopay_projections::{FOLLOWER, Profile, ProfileError, Profiles, Projections};
use wopay_testkit::TestDatabase;

/// Every profile is forgotten.
pub(crate) struct NoProfiles;

#[async_trait]
impl Profiles for NoProfiles {
    async fn profile(&self, _: SecretRef) -> Result<Option<Profile>, ProfileError> {
        Ok(None)
    }
}

/// What the aggregates hold, and the events that are not written yet.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) payments: BTreeMap<PaymentId, (Payment, i64)>,
    pub(crate) merchants: BTreeMap<MerchantId, (Merchant, i64)>,
    pub(crate) deposits: BTreeMap<DepositId, (UnmatchedDeposit, i64)>,
    /// Deposits that were nobody's and are a payment's by decision, and where they stand if not at its own address.
    pub(crate) given: BTreeMap<(PaymentId, DepositKey), Option<String>>,
    unwritten: Vec<(&'static str, String, i64, LedgerEvent)>,
}

impl Book {
    pub(crate) fn payment(&mut self, id: PaymentId, command: PaymentCommand) -> Result<usize, PaymentError> {
        let (state, sequence) = self.payments.entry(id).or_default();
        let events = payment::decide(state, command)?;
        let count = events.len();
        for event in events {
            *sequence += 1;
            payment::evolve(state, event.clone());
            if let PaymentEvent::DepositAssigned(it) = &event
                && it.was_unmatched
            {
                self.given.insert((id, it.deposit.clone()), it.address.clone());
            }
            self.unwritten.push((payment::AGGREGATE_TYPE, id.to_string(), *sequence, LedgerEvent::Payment(event)));
        }
        Ok(count)
    }

    pub(crate) fn deposit(
        &mut self,
        id: DepositId,
        command: UnmatchedDepositCommand,
    ) -> Result<usize, UnmatchedDepositError> {
        let (state, sequence) = self.deposits.entry(id).or_default();
        let events = deposit::decide(state, command)?;
        let count = events.len();
        for event in events {
            *sequence += 1;
            deposit::evolve(state, event.clone());
            self.unwritten.push((deposit::AGGREGATE_TYPE, id.to_string(), *sequence, LedgerEvent::Deposit(event)));
        }
        Ok(count)
    }

    pub(crate) fn merchant(&mut self, id: MerchantId, command: MerchantCommand) -> Result<usize, MerchantError> {
        let (state, sequence) = self.merchants.entry(id).or_default();
        let events = merchant::decide(state, command)?;
        let count = events.len();
        for event in events {
            *sequence += 1;
            merchant::evolve(state, event.clone());
            self.unwritten.push((merchant::AGGREGATE_TYPE, id.to_string(), *sequence, LedgerEvent::Merchant(event)));
        }
        Ok(count)
    }
}

/// A database with a ledger in it.
pub(crate) struct TestLedger {
    pub(crate) pool: PgPool,
    pub(crate) book: Book,
    handler: Projections,
    database: TestDatabase,
}

impl TestLedger {
    pub(crate) async fn new() -> Self {
        Self::with_profiles(|_| NoProfiles).await
    }

    pub(crate) async fn with_profiles<P: Profiles>(profiles: impl FnOnce(&PgPool) -> P) -> Self {
        Self::on_with(wopay_testkit::database().await, profiles)
    }

    /// In a database that somebody else has made.
    pub(crate) fn on(database: TestDatabase) -> Self {
        Self::on_with(database, |_| NoProfiles)
    }

    fn on_with<P: Profiles>(database: TestDatabase, profiles: impl FnOnce(&PgPool) -> P) -> Self {
        let pool = database.pool.clone();
        let handler = Projections::new(std::sync::Arc::new(profiles(&pool)));
        Self { pool, book: Book::default(), handler, database }
    }

    /// A pool of one connection to the same database.
    pub(crate) async fn pool_of_one(&self) -> PgPool {
        self.database.extra_pool(1).await
    }

    /// Makes the payments of the book again from what is recorded.
    pub(crate) fn reload(&mut self, events: &[RecordedEvent]) {
        self.book = Book::default();
        for recorded in events {
            if let LedgerEvent::Payment(event) = recorded.decode().unwrap() {
                let id = recorded.aggregate_id.parse().unwrap();
                let (state, sequence) = self.book.payments.entry(id).or_default();
                payment::evolve(state, event);
                *sequence = recorded.sequence;
            }
        }
    }

    /// Writes the events that the book has decided.
    pub(crate) async fn write(&mut self) {
        let unwritten = std::mem::take(&mut self.book.unwritten);
        let metadata = serde_json::to_value(Metadata::system("test").to_map()).unwrap();
        let mut types = Vec::new();
        let mut ids = Vec::new();
        let mut sequences = Vec::new();
        let mut names = Vec::new();
        let mut versions = Vec::new();
        let mut payloads = Vec::new();
        for (aggregate_type, id, sequence, event) in unwritten {
            types.push(aggregate_type);
            ids.push(id);
            sequences.push(sequence);
            let (name, payload) = match &event {
                LedgerEvent::Payment(event) => (event.name(), serde_json::to_string(event).unwrap()),
                LedgerEvent::Merchant(event) => (event.name(), serde_json::to_string(event).unwrap()),
                LedgerEvent::Access(event) => (event.name(), serde_json::to_string(event).unwrap()),
                LedgerEvent::Chain(event) => (event.name(), serde_json::to_string(event).unwrap()),
                LedgerEvent::Deposit(event) => (event.name(), serde_json::to_string(event).unwrap()),
            };
            names.push(name);
            versions.push(upcast::current_version(name));
            payloads.push(payload);
        }
        sqlx::query(
            "WITH head AS (
                 UPDATE ledger_head SET position = position + cardinality($1) RETURNING position - cardinality($1) AS before
             )
             INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             SELECT head.before + ordinal, type, id, sequence, name, version, payload::json, $7
             FROM head,
                  unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[]) WITH ORDINALITY
                  AS written (type, id, sequence, name, version, payload, ordinal)",
        )
        .bind(types)
        .bind(ids)
        .bind(sequences)
        .bind(names)
        .bind(versions)
        .bind(payloads)
        .bind(metadata)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    /// Applies what is written, in batches of these sizes, taken in turn, and moves the checkpoint with each.
    pub(crate) async fn project_in(&self, sizes: &[i64]) {
        for size in sizes.iter().cycle() {
            if !project_once(&self.pool, &self.handler, *size).await.unwrap() {
                return;
            }
        }
    }

    /// Writes what the book has decided and applies it.
    pub(crate) async fn project(&mut self) {
        self.write().await;
        self.project_in(&[1_000]).await;
    }

    pub(crate) fn handler(&self) -> Projections {
        self.handler.clone()
    }

    pub(crate) async fn apply(&self, events: &[RecordedEvent]) -> Result<(), HandlerError> {
        let mut tx = self.pool.begin().await.unwrap();
        self.handler.apply(&mut tx, events).await
    }

    pub(crate) async fn events(&self) -> Vec<RecordedEvent> {
        log::read(&self.pool, 0, i64::MAX).await.unwrap()
    }
}

/// What a follower does with a batch. False when there is nothing left.
pub(crate) async fn project_once(pool: &PgPool, handler: &Projections, limit: i64) -> Result<bool, HandlerError> {
    let mut tx = pool.begin().await.unwrap();
    let position = checkpoint::lock(&mut tx, FOLLOWER).await.unwrap();
    let events = log::read(&mut *tx, position, limit).await.unwrap();
    let Some(last) = events.last() else { return Ok(false) };
    handler.apply(&mut tx, &events).await?;
    checkpoint::advance(&mut tx, FOLLOWER, last.position).await.unwrap();
    tx.commit().await.unwrap();
    Ok(true)
}
