//! SQL: the addresses that are ours, and the events of their payments.

use std::collections::HashMap;

use sqlx::PgPool;
use wopay_domain::payment::AGGREGATE_TYPE;
use wopay_domain::{ChainFamily, ChainName};
use wopay_eventbus::log::EventRef;

use super::view::PaymentView;
use super::{Folded, ReconcileError};

/// Addresses compared at a time.
const PAGE: i64 = 500;

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

/// The payments of a page, folded from their events up to `position`.
pub(super) async fn fold(pool: &PgPool, page: Vec<Target>, position: i64) -> Result<Vec<Folded>, ReconcileError> {
    let payments: Vec<&str> = page.iter().filter_map(|target| target.payment_id.as_deref()).collect();
    let mut views: HashMap<String, PaymentView> = HashMap::with_capacity(payments.len());
    for event in money_events(pool, &payments, position).await? {
        let decoded = event.as_ref().decode()?;
        if let Some(view) = views.get_mut(&event.aggregate_id) {
            view.fold(decoded);
        } else if let Some(view) = PaymentView::open(&decoded) {
            views.insert(event.aggregate_id, view);
        }
    }
    let mut folded = Vec::with_capacity(page.len());
    for target in page {
        let view = target.payment_id.and_then(|payment| views.remove(&payment));
        match (target.address, view) {
            (None, None) => {}
            (Some(address), None) => folded.push(Folded { address, payment: None }),
            (None, Some(view)) => folded.push(Folded { address: view.address.clone(), payment: Some(view) }),
            (Some(address), Some(view)) => {
                // A claim on another address than the payment's: nothing is expected there.
                if view.address != address {
                    folded.push(Folded { address, payment: None });
                }
                folded.push(Folded { address: view.address.clone(), payment: Some(view) });
            }
        }
    }
    Ok(folded)
}

/// An event of a payment, unread.
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
    fn as_ref(&self) -> EventRef<'_> {
        EventRef {
            position: self.position,
            aggregate_type: AGGREGATE_TYPE,
            aggregate_id: &self.aggregate_id,
            sequence: self.sequence,
            event_type: &self.event_type,
            event_version: &self.event_version,
            payload: &self.payload,
            metadata: "{}",
            recorded_at_micros: self.recorded_at_micros,
        }
    }
}

/// The events of these payments that say where money is, each stream in order.
async fn money_events(pool: &PgPool, payments: &[&str], position: i64) -> Result<Vec<MoneyEvent>, sqlx::Error> {
    sqlx::query_as(
        "SELECT position, aggregate_id, sequence, event_type, event_version, payload::text AS payload,
                (extract(epoch FROM recorded_at) * 1000000)::bigint AS recorded_at_micros
         FROM events
         WHERE aggregate_type = 'payment' AND aggregate_id = ANY ($1) AND position <= $2
           AND (event_type LIKE 'Deposit%' OR event_type LIKE 'Refund%' OR event_type = 'PaymentCreated')
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
