//! SQL: the addresses that are ours, and the events about money at them.

use std::collections::{BTreeSet, HashMap};

use futures::TryStreamExt as _;
use sqlx::PgPool;
use wopay_domain::envelope::DecodeError;
use wopay_domain::{ChainFamily, ChainName, DepositId, LedgerEvent, PaymentId, deposit, payment};
use wopay_eventbus::log::EventRef;

use super::ReconcileError;
use super::suspense::{Outcome, Suspense};
use super::view::{Folded, PaymentView};

/// Addresses compared at a time.
pub(super) const PAGE: i64 = 500;

/// An address, a payment, or both.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Target {
    /// `None`: as the payment's events say.
    pub(super) address: Option<String>,
    pub(super) payment_id: Option<String>,
}

/// Where addresses come from, one source after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Deposit claims.
    Claims,
    /// Given out of the pool, claimed by nobody.
    Pool,
    /// Payments without a claim.
    Events,
    Done,
}

/// Every address of a family, in pages.
pub(super) struct AddressPages<'a> {
    pool: &'a PgPool,
    family: ChainFamily,
    position: i64,
    source: Source,
    after: String,
    after_idx: i64,
}

impl<'a> AddressPages<'a> {
    pub(super) const fn new(pool: &'a PgPool, family: ChainFamily, position: i64) -> Self {
        Self { pool, family, position, source: Source::Claims, after: String::new(), after_idx: -1 }
    }

    /// About how many addresses there are.
    pub(super) async fn count(&self) -> Result<u64, sqlx::Error> {
        let count: i64 = sqlx::query_scalar(
            "SELECT GREATEST(
                 (SELECT count(*) FROM claims WHERE kind = $1),
                 COALESCE((SELECT next_idx FROM address_cursors WHERE family = $2), 0))",
        )
        .bind(claim_kind(self.family))
        .bind(self.family.as_str())
        .fetch_one(self.pool)
        .await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// The next page; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Target>>, sqlx::Error> {
        loop {
            let page = match self.source {
                Source::Claims => self.claimed().await?,
                Source::Pool => self.given_out().await?,
                Source::Events => self.unclaimed().await?,
                Source::Done => return Ok(None),
            };
            if !page.is_empty() {
                return Ok(Some(page));
            }
            self.after.clear();
            self.source = match self.source {
                Source::Claims => Source::Pool,
                Source::Pool => Source::Events,
                Source::Events | Source::Done => Source::Done,
            };
        }
    }

    async fn claimed(&mut self) -> Result<Vec<Target>, sqlx::Error> {
        let page: Vec<Target> = sqlx::query_as(
            "SELECT key AS address, aggregate_id AS payment_id
             FROM claims
             WHERE kind = $1 AND key > $2
             ORDER BY key
             LIMIT $3",
        )
        .bind(claim_kind(self.family))
        .bind(&self.after)
        .bind(PAGE)
        .fetch_all(self.pool)
        .await?;
        if let Some(last) = page.last().and_then(|target| target.address.as_ref()) {
            self.after.clone_from(last);
        }
        Ok(page)
    }

    async fn given_out(&mut self) -> Result<Vec<Target>, sqlx::Error> {
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT p.idx, p.address
             FROM address_pool p
             JOIN address_cursors c ON c.family = p.family AND p.idx < c.next_idx
             WHERE p.family = $1 AND p.idx > $2
               AND NOT EXISTS (SELECT FROM claims k WHERE k.kind = $3 AND k.key = p.address)
             ORDER BY p.idx
             LIMIT $4",
        )
        .bind(self.family.as_str())
        .bind(self.after_idx)
        .bind(claim_kind(self.family))
        .bind(PAGE)
        .fetch_all(self.pool)
        .await?;
        if let Some((last, _)) = rows.last() {
            self.after_idx = *last;
        }
        Ok(rows.into_iter().map(|(_, address)| Target { address: Some(address), payment_id: None }).collect())
    }

    async fn unclaimed(&mut self) -> Result<Vec<Target>, sqlx::Error> {
        let page: Vec<Target> = sqlx::query_as(
            "SELECT NULL AS address, e.aggregate_id AS payment_id
             FROM events e
             WHERE e.aggregate_type = 'payment' AND e.sequence = 1 AND e.aggregate_id > $1 AND e.position <= $2
               AND NOT EXISTS (
                   SELECT FROM claims k WHERE k.kind LIKE 'deposit:%' AND k.aggregate_id = e.aggregate_id
               )
             ORDER BY e.aggregate_id
             LIMIT $3",
        )
        .bind(&self.after)
        .bind(self.position)
        .bind(PAGE)
        .fetch_all(self.pool)
        .await?;
        if let Some(last) = page.last().and_then(|target| target.payment_id.as_ref()) {
            self.after.clone_from(last);
        }
        Ok(page)
    }
}

/// The height that the watcher has processed; `None`: it never watched the chain.
pub(super) async fn watched_to(pool: &PgPool, chain: &ChainName) -> Result<Option<u64>, sqlx::Error> {
    let height: Option<i64> = sqlx::query_scalar("SELECT height FROM chain_heads WHERE chain = $1")
        .bind(chain.as_str())
        .fetch_optional(pool)
        .await?;
    Ok(height.and_then(|height| u64::try_from(height).ok()))
}

/// A page of addresses with what the events up to `position` say of each.
pub(super) async fn fold(
    pool: &PgPool,
    page: &[Target],
    position: i64,
    suspense: &Suspense,
) -> Result<Vec<Folded>, ReconcileError> {
    let ids: Vec<&str> = page.iter().filter_map(|target| target.payment_id.as_deref()).collect();
    let mut views = payments(pool, &ids, position).await?;
    let mut folded = Vec::with_capacity(page.len());
    for target in page {
        let view = target.payment_id.as_ref().and_then(|payment| views.remove(payment));
        match (&target.address, view) {
            (None, None) => {}
            (Some(address), None) => folded.push(Folded::new(address.clone(), None)),
            (None, Some(view)) => folded.push(Folded::new(view.address.clone(), Some(view))),
            (Some(address), Some(view)) => {
                // A claim on another address than the payment's: nothing is expected there.
                if &view.address != address {
                    folded.push(Folded::new(address.clone(), None));
                }
                folded.push(Folded::new(view.address.clone(), Some(view)));
            }
        }
    }
    add_unmatched(pool, &mut folded, position, suspense).await?;
    Ok(folded)
}

/// Adds the money that came while no payment claimed the address, and the payments to which money here was assigned.
async fn add_unmatched(
    pool: &PgPool,
    folded: &mut [Folded],
    position: i64,
    suspense: &Suspense,
) -> Result<(), ReconcileError> {
    let mut given_to: Vec<BTreeSet<PaymentId>> = Vec::with_capacity(folded.len());
    for target in &mut *folded {
        target.unmatched = suspense.at(&target.address).cloned().collect();
        let own = target.payment.as_ref().map(|payment| payment.id);
        let assigned = target.unmatched.iter().filter_map(|deposit| match deposit.outcome {
            Some(Outcome::Assigned(payment)) => Some(payment).filter(|payment| Some(*payment) != own),
            Some(Outcome::Refunded { .. }) | None => None,
        });
        let reassigned = target.payment.iter().flat_map(|payment| &payment.reassigned_to).copied();
        given_to.push(assigned.chain(reassigned).collect());
    }
    let ids: BTreeSet<String> = given_to.iter().flatten().map(ToString::to_string).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let views = payments(pool, &ids, position).await?;
    for (target, given_to) in folded.iter_mut().zip(given_to) {
        target.given_to = given_to.iter().filter_map(|payment| views.get(&payment.to_string())).cloned().collect();
    }
    Ok(())
}

/// These payments, folded from their events up to `position`.
async fn payments(pool: &PgPool, ids: &[&str], position: i64) -> Result<HashMap<String, PaymentView>, ReconcileError> {
    let mut views: HashMap<String, PaymentView> = HashMap::with_capacity(ids.len());
    if ids.is_empty() {
        return Ok(views);
    }
    for event in money_events(pool, ids, position).await? {
        let decoded = event.decode(payment::AGGREGATE_TYPE)?;
        if let Some(view) = views.get_mut(&event.aggregate_id) {
            view.fold(decoded);
        } else if let Some(view) = PaymentView::open(&decoded) {
            views.insert(event.aggregate_id, view);
        }
    }
    Ok(views)
}

/// Folds the events of unmatched deposits of a chain that come after one position, up to another.
pub(super) async fn unmatched(
    pool: &PgPool,
    chain: &ChainName,
    (after, upto): (i64, i64),
    suspense: &mut Suspense,
) -> Result<(), ReconcileError> {
    let mut events = sqlx::query_as(
        "SELECT position, aggregate_id, sequence, event_type, event_version, payload::text AS payload,
                (extract(epoch FROM recorded_at) * 1000000)::bigint AS recorded_at_micros
         FROM events
         WHERE aggregate_type = 'deposit' AND position > $1 AND position <= $2
         ORDER BY position",
    )
    .bind(after)
    .bind(upto)
    .fetch(pool);
    while let Some(event) = events.try_next().await? {
        let event: MoneyEvent = event;
        if let LedgerEvent::Deposit(decoded) = event.decode(deposit::AGGREGATE_TYPE)?
            && &decoded.deposit().chain == chain
        {
            suspense.fold(DepositId::of(decoded.deposit()), decoded);
        }
    }
    Ok(())
}

/// An event of a payment or a deposit, unread.
#[derive(Debug, sqlx::FromRow)]
struct MoneyEvent {
    position: i64,
    aggregate_id: String,
    sequence: i64,
    event_type: String,
    event_version: String,
    payload: String,
    recorded_at_micros: i64,
}

impl MoneyEvent {
    fn decode(&self, aggregate_type: &str) -> Result<LedgerEvent, DecodeError> {
        let event = EventRef {
            position: self.position,
            aggregate_type,
            aggregate_id: &self.aggregate_id,
            sequence: self.sequence,
            event_type: &self.event_type,
            event_version: &self.event_version,
            payload: &self.payload,
            metadata: "{}",
            recorded_at_micros: self.recorded_at_micros,
        };
        event.decode()
    }
}

/// The events of these payments that say where money is, each stream in order.
async fn money_events(pool: &PgPool, payments: &[&str], position: i64) -> Result<Vec<MoneyEvent>, sqlx::Error> {
    sqlx::query_as(
        "SELECT position, aggregate_id, sequence, event_type, event_version, payload::text AS payload,
                (extract(epoch FROM recorded_at) * 1000000)::bigint AS recorded_at_micros
         FROM events
         WHERE aggregate_type = 'payment' AND aggregate_id = ANY ($1) AND position <= $2
           AND (event_type LIKE '%Deposit%' OR event_type LIKE 'Refund%' OR event_type = 'PaymentCreated')
         ORDER BY aggregate_id, sequence",
    )
    .bind(payments)
    .bind(position)
    .fetch_all(pool)
    .await
}

fn claim_kind(family: ChainFamily) -> String {
    format!("deposit:{family}")
}
