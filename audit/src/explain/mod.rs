//! A payment explained in words: what was asked, what happened and why, how it stands, what is in the books. Every
//! sentence follows from the payment's events; nothing else is asked.

mod words;

use sqlx::PgPool;
use wopay_domain::payment::{Payment, PaymentEvent, evolve};
use wopay_domain::{LedgerEvent, PaymentId, RecordedEvent};

use crate::replay::{Books, HistoryError, Moment, Subject, history_of, stream_of};

/// Explains a payment as of a moment.
///
/// # Errors
/// There is none, the database fails, or an event is missing or cannot be read.
pub async fn explain(pool: &PgPool, payment: PaymentId, moment: Option<Moment>) -> Result<String, HistoryError> {
    let (events, as_of) = stream_of(pool, Subject::Payment(payment), moment).await?;
    explain_events(&events, as_of.position)
}

/// Explains a payment from its stream.
///
/// # Errors
/// An event is missing or cannot be read, or the stream is no payment's.
pub fn explain_events(events: &[RecordedEvent], as_of_position: i64) -> Result<String, HistoryError> {
    let history = history_of(events, as_of_position)?;
    let mut payment = Payment::default();
    let mut decoded: Vec<PaymentEvent> = Vec::with_capacity(events.len());
    let mut books = Books::default();
    for event in events {
        let event = event.decode()?;
        books.post(&wopay_domain::ledger::postings(&event))?;
        if let LedgerEvent::Payment(event) = event {
            evolve(&mut payment, event.clone());
            decoded.push(event);
        }
    }
    let Some(state) = payment.state() else { return Err(HistoryError::Gap { expected: 1 }) };
    Ok(words::tell(state, &history, &decoded, &books))
}
