//! What a deposit's row takes from the payment's creation. Read from `events`, not from the read model `payments`: each
//! read model follows from the log alone.

use std::collections::{BTreeSet, HashMap};

use sqlx::{PgConnection, Row};
use wopay_domain::envelope::decode;
use wopay_domain::payment::{AGGREGATE_TYPE, PaymentCreated, PaymentEvent};
use wopay_domain::{Asset, LedgerEvent, MerchantId, PaymentId};

use crate::batch::Batch;
use crate::error::ApplyError;

/// Of a payment's creation, what its deposits show.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    pub(super) merchant_id: MerchantId,
    pub(super) address: String,
    pub(super) asset: Asset,
}

impl Opening {
    fn of(created: &PaymentCreated) -> Self {
        Self {
            merchant_id: created.merchant_id,
            address: created.terms.address.clone(),
            asset: created.terms.asset.clone(),
        }
    }
}

/// The creations of these payments, from the batch where it has them, else from the ledger. A payment without one is not
/// in the answer.
pub(super) async fn openings(
    connection: &mut PgConnection,
    batch: &Batch<'_>,
    payments: &BTreeSet<PaymentId>,
) -> Result<HashMap<PaymentId, Opening>, ApplyError> {
    let mut openings = HashMap::with_capacity(payments.len());
    for (_, id, event) in batch.payments() {
        if let PaymentEvent::PaymentCreated(created) = event
            && payments.contains(&id)
        {
            openings.insert(id, Opening::of(created));
        }
    }
    let elsewhere: Vec<String> =
        payments.iter().filter(|id| !openings.contains_key(id)).map(ToString::to_string).collect();
    if !elsewhere.is_empty() {
        openings.extend(recorded(connection, elsewhere).await?);
    }
    Ok(openings)
}

async fn recorded(
    connection: &mut PgConnection,
    payments: Vec<String>,
) -> Result<Vec<(PaymentId, Opening)>, ApplyError> {
    let rows = sqlx::query(
        "SELECT position, event_type, event_version, payload::text AS payload
         FROM events
         WHERE aggregate_type = $1 AND aggregate_id = ANY($2) AND sequence = 1",
    )
    .bind(AGGREGATE_TYPE)
    .bind(payments)
    .fetch_all(connection)
    .await?;
    let mut openings = Vec::with_capacity(rows.len());
    for row in rows {
        let (event_type, version): (&str, &str) = (row.try_get("event_type")?, row.try_get("event_version")?);
        let (position, payload): (i64, &str) = (row.try_get("position")?, row.try_get("payload")?);
        // Whatever else stands there makes the payment one that was never opened, which the caller reports.
        let read = decode(AGGREGATE_TYPE, event_type, version, position, payload);
        if let Ok(LedgerEvent::Payment(PaymentEvent::PaymentCreated(created))) = read {
            openings.push((created.payment_id, Opening::of(&created)));
        }
    }
    Ok(openings)
}
