//! A batch of events, read once for all read models.

use uuid::Uuid;
use wopay_domain::payment::PaymentEvent;
use wopay_domain::{LedgerEvent, MerchantId, PaymentId, RecordedEvent};

use wopay_domain::merchant::MerchantEvent;

use crate::error::{ApplyError, PoisonError};

/// An event with its place in the ledger.
pub(crate) struct Entry<'a> {
    pub(crate) recorded: &'a RecordedEvent,
    pub(crate) event: LedgerEvent,
    aggregate_id: Uuid,
}

/// Events of contiguous positions, in their order.
pub(crate) struct Batch<'a>(Vec<Entry<'a>>);

impl<'a> Batch<'a> {
    /// Reads the events and checks that no position is missing between them.
    pub(crate) fn read(events: &'a [RecordedEvent]) -> Result<Self, ApplyError> {
        let mut entries = Vec::with_capacity(events.len());
        let mut expected = events.first().map_or(0, |event| event.position);
        for recorded in events {
            let position = recorded.position;
            if position != expected {
                return Err(ApplyError::poison(position, PoisonError::Gap { expected, got: position }));
            }
            expected = position.saturating_add(1);
            let poison = |source| ApplyError::Poison { position, source };
            let event = recorded.decode().map_err(|error| poison(error.into()))?;
            let aggregate_id = recorded
                .aggregate_id
                .parse()
                .map_err(|_| poison(PoisonError::AggregateId(recorded.aggregate_id.clone())))?;
            entries.push(Entry { recorded, event, aggregate_id });
        }
        Ok(Self(entries))
    }

    /// Every event.
    pub(crate) fn entries(&self) -> &[Entry<'a>] {
        &self.0
    }

    /// The position of the first event, 0 if there is none.
    pub(crate) fn first_position(&self) -> i64 {
        self.0.first().map_or(0, |entry| entry.recorded.position)
    }

    /// The events of payments.
    pub(crate) fn payments(&self) -> impl Iterator<Item = (i64, PaymentId, &PaymentEvent)> {
        self.0.iter().filter_map(|entry| match &entry.event {
            LedgerEvent::Payment(event) => {
                Some((entry.recorded.position, PaymentId::from_uuid(entry.aggregate_id), event))
            }
            LedgerEvent::Merchant(_) | LedgerEvent::Access(_) => None,
        })
    }

    /// The events of merchants.
    pub(crate) fn merchants(&self) -> impl Iterator<Item = (i64, MerchantId, &MerchantEvent)> {
        self.0.iter().filter_map(|entry| match &entry.event {
            LedgerEvent::Merchant(event) => {
                Some((entry.recorded.position, MerchantId::from_uuid(entry.aggregate_id), event))
            }
            LedgerEvent::Payment(_) | LedgerEvent::Access(_) => None,
        })
    }
}
