//! A payment explained in words: what was asked, what happened and why, how it stands, what is in the books. Every
//! sentence follows from the payment's events, and from those of the deposits that an operator assigned to it; nothing else
//! is asked.

mod words;

use sqlx::PgPool;
use wopay_domain::deposit::{UnmatchedDeposit, UnmatchedDepositState};
use wopay_domain::payment::{Payment, PaymentEvent, evolve};
use wopay_domain::{DepositId, DepositKey, LedgerEvent, PaymentId, RecordedEvent, deposit};

use crate::replay::{Books, History, Moment, ReplayError, Subject, history_of, stream_of};

/// Money that was no payment's before it was assigned to this one.
struct Given {
    state: UnmatchedDepositState,
    history: History,
}

/// Explains a payment as of a moment.
///
/// # Errors
/// There is none, the database fails, or an event is missing or cannot be read.
pub async fn explain(pool: &PgPool, payment: PaymentId, moment: Option<Moment>) -> Result<String, ReplayError> {
    let (events, as_of) = stream_of(pool, &Subject::Payment(payment), moment).await?;
    let mut deposits = Vec::new();
    for deposit in given(&events)? {
        let subject = Subject::Deposit(DepositId::of(&deposit));
        deposits.push(stream_of(pool, &subject, Some(Moment::Position(as_of.position))).await?.0);
    }
    explain_events(&events, &deposits, as_of.position)
}

/// The deposits that were no payment's before they were assigned to this one.
fn given(events: &[RecordedEvent]) -> Result<Vec<DepositKey>, ReplayError> {
    let mut given = Vec::new();
    for event in events.iter().filter(|event| event.event_type == "DepositAssigned") {
        if let LedgerEvent::Payment(PaymentEvent::DepositAssigned(assigned)) = event.decode()?
            && assigned.was_unmatched
        {
            given.push(assigned.deposit);
        }
    }
    Ok(given)
}

/// Explains a payment from its stream, and from those of the deposits that were no payment's before they were assigned to
/// it.
///
/// # Errors
/// An event is missing or cannot be read, or a stream is no payment's or no deposit's.
pub fn explain_events(
    events: &[RecordedEvent],
    deposits: &[Vec<RecordedEvent>],
    as_of_position: i64,
) -> Result<String, ReplayError> {
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
    let mut given = Vec::with_capacity(deposits.len());
    for stream in deposits {
        given.push(read_given(stream, as_of_position, &mut books)?);
    }
    let Some(state) = payment.state() else { return Err(ReplayError::StreamGap { expected: 1 }) };
    Ok(words::tell(state, &history, &decoded, &given, &books))
}

fn read_given(stream: &[RecordedEvent], as_of_position: i64, books: &mut Books) -> Result<Given, ReplayError> {
    let history = history_of(stream, as_of_position)?;
    let mut unmatched = UnmatchedDeposit::default();
    for event in stream {
        let event = event.decode()?;
        books.post(&wopay_domain::ledger::postings(&event))?;
        if let LedgerEvent::Deposit(event) = event {
            deposit::evolve(&mut unmatched, event);
        }
    }
    let state = unmatched.state().cloned().ok_or(ReplayError::StreamGap { expected: 1 })?;
    Ok(Given { state, history })
}
