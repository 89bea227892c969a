//! Planning: which event is told to whom. Rows are written in the transaction that moves the follower's checkpoint, so
//! an event whose position was passed has its deliveries, whatever crashes when.
//!
//! Planning an event again adds nothing: ids are computed from event and target, and a merchant's URL only receives what
//! happened after it was configured. So a replay from the first position, under today's settings, is a no-op.

mod store;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use sqlx::PgConnection;
use url::{Origin, Url};
use wopay_domain::envelope::{DecodeError, decode};
use wopay_domain::merchant::{MerchantEvent, WebhookConfigured};
use wopay_domain::payment::{AGGREGATE_TYPE, PaymentCreated, PaymentEvent, Standing};
use wopay_domain::{LedgerEvent, MerchantId, PaymentId, RecordedEvent};
use wopay_eventbus::{EventHandler, HandlerError};

use crate::announcement::{Announcement, Planned, Target, delivery_id, event_name};
use crate::wake::Wake;
use store::{Endpoint, FirstEvent};

/// The follower's name: of its checkpoint and its durable consumer.
pub const FOLLOWER: &str = "webhooks";

/// Turns events into delivery rows.
#[derive(Debug, Default)]
pub struct Planner {
    wake: Wake,
    /// Rows were planned since the last wake.
    planned: AtomicBool,
}

/// An event that cannot be planned. It stops the follower: leaving it out would be a webhook that never comes.
#[derive(Debug, thiserror::Error)]
enum PlanError {
    #[error("{aggregate_type} {id:?} is not a UUID")]
    AggregateId { aggregate_type: &'static str, id: String, source: uuid::Error },
    #[error("payment {0} has no creation event")]
    NoCreation(PaymentId),
    #[error("the creation event of payment {payment} cannot be read")]
    Creation { payment: PaymentId, source: DecodeError },
}

/// A status event that is still to be planned.
struct Announced {
    position: i64,
    sequence: i64,
    payment: PaymentId,
    name: &'static str,
    standing: Standing,
}

impl Planner {
    /// A planner that nobody listens to yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What wakes when rows have been planned and committed; for
    /// [`Deliverer::woken_by`](crate::Deliverer::woken_by).
    #[must_use]
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// Plans status events that lie between two changes of settings.
    async fn plan(&self, tx: &mut PgConnection, events: &[Announced]) -> Result<(), HandlerError> {
        if events.is_empty() {
            return Ok(());
        }
        let created = creations(tx, events).await?;
        let merchants: Vec<MerchantId> = created.values().map(|created| created.merchant_id).collect();
        let endpoints = store::endpoints(tx, &merchants).await?;
        let forgotten = store::forgotten(tx, &merchants).await?;
        let mut planned = Vec::with_capacity(events.len());
        for event in events {
            let created = created
                .get(&event.payment)
                .ok_or_else(|| poison(event.position, PlanError::NoCreation(event.payment)))?;
            if forgotten.get(&created.merchant_id).is_some_and(|position| *position < event.position) {
                continue;
            }
            planned.extend(deliveries(event, created, endpoints.get(&created.merchant_id)));
        }
        if store::insert(tx, &planned).await? > 0 {
            self.planned.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[async_trait]
impl EventHandler for Planner {
    fn name(&self) -> &str {
        FOLLOWER
    }

    async fn apply(&self, tx: &mut PgConnection, events: &[RecordedEvent]) -> Result<(), HandlerError> {
        let mut waiting = Vec::new();
        for recorded in events {
            let position = recorded.position;
            if PaymentEvent::WITHOUT_STANDING.contains(&recorded.event_type.as_str()) {
                continue;
            }
            match recorded.decode().map_err(|error| poison(position, error))? {
                LedgerEvent::Payment(event) => waiting.extend(announced(recorded, &event)?),
                LedgerEvent::Merchant(MerchantEvent::WebhookConfigured(configured)) => {
                    // What came before goes where webhooks went before.
                    self.plan(tx, &std::mem::take(&mut waiting)).await?;
                    configure(tx, recorded, &configured).await?;
                }
                LedgerEvent::Merchant(MerchantEvent::MerchantForgotten(forgotten)) => {
                    self.plan(tx, &std::mem::take(&mut waiting)).await?;
                    let merchant = merchant_id(recorded)?;
                    let given_up = store::forget(tx, merchant, position, forgotten.at).await?;
                    tracing::info!(%merchant, given_up, "webhooks: a forgotten merchant is told nothing more");
                }
                LedgerEvent::Merchant(
                    MerchantEvent::MerchantRegistered(_)
                    | MerchantEvent::ApiKeyIssued(_)
                    | MerchantEvent::ApiKeyRevoked(_)
                    | MerchantEvent::MerchantSuspended(_)
                    | MerchantEvent::MerchantReinstated(_),
                )
                | LedgerEvent::Access(_)
                | LedgerEvent::Chain(_)
                | LedgerEvent::Deposit(_) => {}
            }
        }
        self.plan(tx, &waiting).await
    }

    async fn committed(&self) {
        if self.planned.swap(false, Ordering::Relaxed) {
            self.wake.wake();
        }
    }
}

fn announced(recorded: &RecordedEvent, event: &PaymentEvent) -> Result<Option<Announced>, HandlerError> {
    let (Some(name), Some(standing)) = (event_name(event), event.standing()) else { return Ok(None) };
    let payment = recorded.aggregate_id.parse().map_err(|source| {
        let id = recorded.aggregate_id.clone();
        poison(recorded.position, PlanError::AggregateId { aggregate_type: "payment", id, source })
    })?;
    let (position, sequence) = (recorded.position, recorded.sequence);
    Ok(Some(Announced { position, sequence, payment, name, standing: standing.clone() }))
}

async fn configure(
    tx: &mut PgConnection,
    recorded: &RecordedEvent,
    configured: &WebhookConfigured,
) -> Result<(), HandlerError> {
    Ok(store::configure(tx, merchant_id(recorded)?, recorded.position, configured).await?)
}

fn merchant_id(recorded: &RecordedEvent) -> Result<MerchantId, HandlerError> {
    recorded.aggregate_id.parse().map_err(|source| {
        let id = recorded.aggregate_id.clone();
        poison(recorded.position, PlanError::AggregateId { aggregate_type: "merchant", id, source })
    })
}

/// How the payments of these events were opened: one query however many.
async fn creations(
    tx: &mut PgConnection,
    events: &[Announced],
) -> Result<HashMap<PaymentId, PaymentCreated>, HandlerError> {
    let ids: Vec<PaymentId> = events.iter().map(|event| event.payment).collect();
    let mut first = store::first_events(tx, &ids).await?;
    let mut created = HashMap::with_capacity(first.len());
    for event in events {
        let Some(first) = first.remove(&event.payment) else { continue };
        let FirstEvent { event_type, event_version, position, payload, .. } = &first;
        match decode(AGGREGATE_TYPE, event_type, event_version, *position, payload) {
            Ok(LedgerEvent::Payment(PaymentEvent::PaymentCreated(opened))) => {
                created.insert(event.payment, *opened);
            }
            Ok(_) => return Err(poison(event.position, PlanError::NoCreation(event.payment))),
            Err(source) => return Err(poison(event.position, PlanError::Creation { payment: event.payment, source })),
        }
    }
    Ok(created)
}

/// At most two: the payment's callback, and the merchant's URL if that is another one and already was the merchant's.
fn deliveries(
    event: &Announced,
    created: &PaymentCreated,
    endpoint: Option<&Endpoint>,
) -> impl Iterator<Item = Planned> {
    let callback = created.terms.callback_url.as_deref();
    let endpoint = endpoint
        .filter(|endpoint| endpoint.position < event.position && !endpoint.disabled)
        .and_then(|endpoint| endpoint.url.as_deref())
        .filter(|url| Some(*url) != callback);
    let targets = [(Target::Callback, callback), (Target::Endpoint, endpoint)];
    let rows = targets.map(|(target, url)| url.map(|url| delivery(event, created, target, url)));
    rows.into_iter().flatten()
}

fn delivery(event: &Announced, created: &PaymentCreated, target: Target, url: &str) -> Planned {
    let id = delivery_id(event.payment, event.sequence, target);
    Planned {
        id,
        merchant_id: created.merchant_id,
        position: event.position,
        target,
        url: url.to_owned(),
        origin: origin(url),
        announcement: Announcement::new(event.name, created, &event.standing, event.sequence, id),
    }
}

/// Scheme, host and port. What is no URL is a lane of its own, and fails when it is attempted.
fn origin(url: &str) -> String {
    match Url::parse(url).map(|url| url.origin()) {
        Ok(origin @ Origin::Tuple(..)) => origin.ascii_serialization(),
        Ok(Origin::Opaque(_)) | Err(_) => "invalid".to_owned(),
    }
}

fn poison(position: i64, source: impl std::error::Error + Send + Sync + 'static) -> HandlerError {
    HandlerError::Poison { position, source: Box::new(source) }
}
