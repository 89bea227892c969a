//! One aggregate, event by event: what happened, who caused it, which rule decided, what was booked, how it stood then.

use std::fmt;

use serde::Serialize;
use sqlx::PgPool;
use wopay_domain::ledger::{Account, effective_at, postings};
use wopay_domain::payment::{Payment, PaymentEvent, PaymentState, evolve};
use wopay_domain::{AssetId, ChainName, DepositId, LedgerEvent, MerchantId, PaymentId, RecordedEvent, Timestamp};

use super::cause::Cause;
use super::error::ReplayError;
use super::moment::{AsOf, Moment, resolve};
use super::{rules, store};

/// Which aggregate to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A payment.
    Payment(PaymentId),
    /// A merchant.
    Merchant(MerchantId),
    /// Money that was no payment's.
    Deposit(DepositId),
    /// A chain, as far as it was changed at run time.
    Chain(ChainName),
}

impl Subject {
    const fn aggregate_type(&self) -> &'static str {
        match self {
            Self::Payment(_) => wopay_domain::payment::AGGREGATE_TYPE,
            Self::Merchant(_) => wopay_domain::merchant::AGGREGATE_TYPE,
            Self::Deposit(_) => wopay_domain::deposit::AGGREGATE_TYPE,
            Self::Chain(_) => wopay_domain::chains::AGGREGATE_TYPE,
        }
    }

    fn aggregate_id(&self) -> String {
        match self {
            Self::Payment(id) => id.to_string(),
            Self::Merchant(id) => id.to_string(),
            Self::Deposit(id) => id.to_string(),
            Self::Chain(name) => name.to_string(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.aggregate_type(), self.aggregate_id())
    }
}

/// An aggregate's events up to a moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct History {
    /// `payment`, `merchant`, `deposit` or `chain`.
    pub aggregate_type: String,
    /// Its id.
    pub aggregate_id: String,
    /// Events up to this position are shown.
    pub as_of_position: i64,
    /// Event by event, in order.
    pub steps: Vec<Step>,
}

/// One event of an aggregate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Its position in the ledger.
    pub position: i64,
    /// Its place in the stream.
    pub sequence: i64,
    /// What happened.
    pub event_type: String,
    /// The version of its shape, as stored.
    pub event_version: String,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// When what it says took effect: the block's time for deposits.
    pub effective_at: Timestamp,
    /// Who or what caused it.
    pub cause: Cause,
    /// Which rule decided, in a sentence.
    pub rule: String,
    /// What was booked.
    pub booked: Vec<BookedLine>,
    /// How the payment stood after it; `None` for other aggregates.
    pub standing: Option<Standing>,
    /// The event itself, as stored.
    pub payload: wopay_domain::RawJson,
}

/// One line of a journal entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BookedLine {
    /// The account.
    pub account: Account,
    /// `pending` or `posted`.
    pub layer: &'static str,
    /// `debit` or `credit`.
    pub side: &'static str,
    /// The asset.
    pub asset: AssetId,
    /// Minor units.
    pub amount_minor: String,
}

/// How a payment stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Its status, as last announced.
    pub status: &'static str,
    /// Its flags.
    pub flags: Vec<&'static str>,
    /// Credited money in the chain, minor units.
    pub amount_received: String,
    /// Of it, what is confirmed.
    pub amount_confirmed: String,
}

/// An aggregate's events up to a moment, read by its own stream.
///
/// # Errors
/// There is none, the database fails, or an event is missing or cannot be read.
pub async fn history(pool: &PgPool, subject: &Subject, moment: Option<Moment>) -> Result<History, ReplayError> {
    let (events, as_of) = stream_of(pool, subject, moment).await?;
    history_of(&events, as_of.position)
}

/// An aggregate's stream up to a moment.
pub(crate) async fn stream_of(
    pool: &PgPool,
    subject: &Subject,
    moment: Option<Moment>,
) -> Result<(Vec<RecordedEvent>, AsOf), ReplayError> {
    let as_of = resolve(pool, moment).await?;
    let events = store::stream(pool, subject.aggregate_type(), &subject.aggregate_id(), as_of.position).await?;
    if events.is_empty() {
        return Err(ReplayError::NotFound { subject: subject.to_string(), position: as_of.position });
    }
    Ok((events, as_of))
}

/// The history that a stream tells.
///
/// # Errors
/// An event is missing or cannot be read.
pub fn history_of(events: &[RecordedEvent], as_of_position: i64) -> Result<History, ReplayError> {
    let mut payment = Payment::default();
    let mut steps = Vec::with_capacity(events.len());
    for (recorded, expected) in events.iter().zip(1_i64..) {
        if recorded.sequence != expected {
            return Err(ReplayError::StreamGap { expected });
        }
        steps.push(step(recorded, &mut payment)?);
    }
    Ok(History {
        aggregate_type: events.first().map(|event| event.aggregate_type.clone()).unwrap_or_default(),
        aggregate_id: events.first().map(|event| event.aggregate_id.clone()).unwrap_or_default(),
        as_of_position,
        steps,
    })
}

fn step(recorded: &RecordedEvent, payment: &mut Payment) -> Result<Step, ReplayError> {
    let event = recorded.decode()?;
    let rule = match &event {
        LedgerEvent::Payment(event) => take(event, payment),
        LedgerEvent::Merchant(event) => rules::of_merchant(event),
        LedgerEvent::Access(event) => rules::of_access(event),
        LedgerEvent::Chain(event) => rules::of_chain(event),
        LedgerEvent::Deposit(event) => rules::of_deposit(event),
    };
    Ok(Step {
        position: recorded.position,
        sequence: recorded.sequence,
        event_type: recorded.event_type.clone(),
        event_version: recorded.event_version.clone(),
        recorded_at: recorded.recorded_at,
        effective_at: effective_at(&event),
        cause: Cause::of(recorded, &event),
        rule,
        booked: booked(&event),
        standing: payment.state().map(standing),
        payload: recorded.payload.clone(),
    })
}

/// Folds the event in, and says which rule decided.
fn take(event: &PaymentEvent, payment: &mut Payment) -> String {
    let before = payment.clone();
    evolve(payment, event.clone());
    rules::of_payment(event, before.state(), payment.state())
}

fn booked(event: &LedgerEvent) -> Vec<BookedLine> {
    postings(event)
        .into_iter()
        .map(|posting| BookedLine {
            account: posting.account,
            layer: posting.layer.as_str(),
            side: posting.side.as_str(),
            asset: posting.amount.asset().clone(),
            amount_minor: posting.amount.minor().to_string(),
        })
        .collect()
}

fn standing(state: &PaymentState) -> Standing {
    let totals = state.totals().ok();
    let minor = |amount: Option<u128>| amount.map_or_else(|| "too large".to_owned(), |amount| amount.to_string());
    Standing {
        status: state.status.as_str(),
        flags: state.flags.names(),
        amount_received: minor(totals.as_ref().map(|totals| totals.received.minor())),
        amount_confirmed: minor(totals.as_ref().map(|totals| totals.confirmed.minor())),
    }
}
