//! A batch of events, read once for all read models.

use uuid::Uuid;
use wopay_domain::deposit::UnmatchedDepositEvent;
use wopay_domain::envelope::DecodeError;
use wopay_domain::merchant::MerchantEvent;
use wopay_domain::payment::PaymentEvent;
use wopay_domain::{LedgerEvent, MerchantId, PaymentId, RecordedEvent, Timestamp};
use wopay_eventbus::log::EventRef;

use crate::error::{ApplyError, PoisonError};

/// Where an event stands in the ledger.
pub(crate) struct Header {
    pub(crate) position: i64,
    pub(crate) aggregate_id: String,
    pub(crate) event_type: String,
    pub(crate) recorded_at: Timestamp,
}

/// An event with its place in the ledger.
pub(crate) struct Entry {
    pub(crate) recorded: Header,
    pub(crate) event: LedgerEvent,
    /// Nil where an aggregate is not known by a UUID.
    aggregate_id: Uuid,
}

/// Events of contiguous positions, read, in their order. Owns them, so that several models can apply them at a time.
#[derive(Default)]
pub(crate) struct Events(Vec<Entry>);

impl Events {
    /// Reads the events and checks that no position is missing between them.
    pub(crate) fn read(events: &[RecordedEvent]) -> Result<Self, ApplyError> {
        let mut read = Self(Vec::with_capacity(events.len()));
        for event in events {
            let header = Header {
                position: event.position,
                aggregate_id: event.aggregate_id.clone(),
                event_type: event.event_type.clone(),
                recorded_at: event.recorded_at,
            };
            read.push(header, || event.decode())?;
        }
        Ok(read)
    }

    /// Reads one more event, which must follow the last one.
    pub(crate) fn read_next(&mut self, event: &EventRef<'_>) -> Result<(), ApplyError> {
        let header = Header {
            position: event.position,
            aggregate_id: event.aggregate_id.to_owned(),
            event_type: event.event_type.to_owned(),
            recorded_at: event.recorded_at(),
        };
        self.push(header, || event.decode())
    }

    /// What the read models apply.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch(&self.0)
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The position of the last event, if there is one.
    pub(crate) fn last_position(&self) -> Option<i64> {
        self.0.last().map(|entry| entry.recorded.position)
    }

    fn push(
        &mut self,
        recorded: Header,
        decode: impl FnOnce() -> Result<LedgerEvent, DecodeError>,
    ) -> Result<(), ApplyError> {
        let position = recorded.position;
        if let Some(expected) = self.last_position().map(|last| last.saturating_add(1))
            && position != expected
        {
            return Err(ApplyError::poison(position, PoisonError::Gap { expected, got: position }));
        }
        let event = decode().map_err(|error| ApplyError::poison(position, error))?;
        let aggregate_id = match &event {
            // Known by their names, and in no read model.
            LedgerEvent::Chain(_) => Uuid::nil(),
            LedgerEvent::Payment(_) | LedgerEvent::Merchant(_) | LedgerEvent::Access(_) | LedgerEvent::Deposit(_) => {
                Uuid::parse_str(&recorded.aggregate_id).map_err(|_| {
                    ApplyError::poison(position, PoisonError::AggregateId(recorded.aggregate_id.clone()))
                })?
            }
        };
        self.0.push(Entry { recorded, event, aggregate_id });
        Ok(())
    }
}

/// Events of contiguous positions, in their order.
#[derive(Clone, Copy)]
pub(crate) struct Batch<'a>(&'a [Entry]);

impl<'a> Batch<'a> {
    /// Every event.
    pub(crate) fn entries(&self) -> &'a [Entry] {
        self.0
    }

    /// The position of the first event, 0 if there is none.
    pub(crate) fn first_position(&self) -> i64 {
        self.0.first().map_or(0, |entry| entry.recorded.position)
    }

    /// The events of payments.
    pub(crate) fn payments(&self) -> impl Iterator<Item = (i64, PaymentId, &'a PaymentEvent)> {
        self.0.iter().filter_map(|entry| {
            let LedgerEvent::Payment(event) = &entry.event else { return None };
            Some((entry.recorded.position, PaymentId::from_uuid(entry.aggregate_id), event))
        })
    }

    /// The events of money that no payment claimed.
    pub(crate) fn deposits(&self) -> impl Iterator<Item = (i64, &'a UnmatchedDepositEvent)> {
        self.0.iter().filter_map(|entry| {
            let LedgerEvent::Deposit(event) = &entry.event else { return None };
            Some((entry.recorded.position, event))
        })
    }

    /// The events of merchants.
    pub(crate) fn merchants(&self) -> impl Iterator<Item = (i64, MerchantId, &'a MerchantEvent)> {
        self.0.iter().filter_map(|entry| {
            let LedgerEvent::Merchant(event) = &entry.event else { return None };
            Some((entry.recorded.position, MerchantId::from_uuid(entry.aggregate_id), event))
        })
    }
}
