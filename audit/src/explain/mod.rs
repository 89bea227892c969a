//! A payment explained in words: what was asked, what happened and why, how it stands, what is in the books. Every
//! sentence follows from the payment's events, and from those of the deposits that an operator assigned to it; nothing else
//! is asked.

mod words;

use sqlx::PgPool;
use wopay_domain::deposit::{UnmatchedDeposit, UnmatchedDepositState};
use wopay_domain::payment::{Payment, PaymentEvent, evolve};
use wopay_domain::{DepositId, DepositKey, LedgerEvent, Money, PaymentId, RecordedEvent, deposit};

use crate::replay::{Books, History, Moment, ReplayError, Subject, history_of, stream_of};

/// Money that came elsewhere before it was assigned to this payment.
struct Given {
    deposit: DepositKey,
    amount: Money,
    from: Option<String>,
    address: String,
    /// The payment that held it; `None`: it was no payment's.
    holder: Option<PaymentId>,
    /// What happened to it there.
    history: History,
}

/// Explains a payment as of a moment.
///
/// # Errors
/// There is none, the database fails, or an event is missing or cannot be read.
pub async fn explain(pool: &PgPool, payment: PaymentId, moment: Option<Moment>) -> Result<String, ReplayError> {
    let (events, as_of) = stream_of(pool, &Subject::Payment(payment), moment).await?;
    let mut deposits = Vec::new();
    for (deposit, holder) in given(&events)? {
        let subject = holder.map_or_else(|| Subject::Deposit(DepositId::of(&deposit)), Subject::Payment);
        deposits.push(stream_of(pool, &subject, Some(Moment::Position(as_of.position))).await?.0);
    }
    explain_events(&events, &deposits, as_of.position)
}

/// The deposits that were no payment's before they were assigned to this one, and those that another payment held.
fn given(events: &[RecordedEvent]) -> Result<Vec<(DepositKey, Option<PaymentId>)>, ReplayError> {
    let mut given = Vec::new();
    for event in events.iter().filter(|event| event.event_type == "DepositAssigned") {
        if let LedgerEvent::Payment(PaymentEvent::DepositAssigned(assigned)) = event.decode()?
            && assigned.was_unmatched
        {
            given.push((assigned.deposit, assigned.from_payment_id));
        }
    }
    Ok(given)
}

/// Explains a payment from its stream, and from those of the deposits that came elsewhere before they were assigned to it,
/// in the order of the assignments: the deposit's own, or that of the payment which held it.
///
/// # Errors
/// An event is missing or cannot be read, or a stream is not of what it should be.
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
    for (stream, (deposit, holder)) in deposits.iter().zip(self::given(events)?) {
        given.push(match holder {
            None => read_given(stream, as_of_position, &mut books)?,
            Some(holder) => read_held(stream, (deposit, holder), as_of_position, &mut books)?,
        });
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
    let UnmatchedDepositState { deposit, amount, from, address, .. } = state;
    Ok(Given { deposit, amount, from, address, holder: None, history })
}

/// Of the holder's stream what concerns this deposit.
fn read_held(
    stream: &[RecordedEvent],
    (key, holder): (DepositKey, PaymentId),
    as_of_position: i64,
    books: &mut Books,
) -> Result<Given, ReplayError> {
    let mut history = history_of(stream, as_of_position)?;
    history.steps.retain(|step| step.cause.deposit.as_ref() == Some(&key));
    let mut payment = Payment::default();
    for event in stream {
        let decoded = event.decode()?;
        if history.steps.iter().any(|step| step.position == event.position) {
            books.post(&wopay_domain::ledger::postings(&decoded))?;
        }
        if let LedgerEvent::Payment(decoded) = decoded {
            evolve(&mut payment, decoded);
        }
    }
    let known = payment.state().and_then(|state| Some((state, state.deposits.get(&key)?)));
    let Some((state, known)) = known else { return Err(ReplayError::StreamGap { expected: 1 }) };
    let (amount, from, address) = (known.amount.clone(), known.from.clone(), state.terms.address.clone());
    Ok(Given { deposit: key, amount, from, address, holder: Some(holder), history })
}
