//! How a payment ended, and how it would have: the two compared.

use serde::Serialize;
use wopay_domain::payment::{Payment, PaymentEvent, PaymentState};
use wopay_domain::{MerchantId, PaymentId, Timestamp};

use super::facts::{Facts, FactsError, tell_back};
use super::heads::Heads;
use super::policy::Overrides;
use super::run::{Bound, Ran, World, run};

/// How a payment stands at the end of its facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its status.
    pub status: &'static str,
    /// Its flags.
    pub flags: Vec<&'static str>,
    /// Credited money that stands in the chain, minor units.
    pub amount_received: String,
    /// Of it, what is confirmed.
    pub amount_confirmed: String,
    /// When it was completed for the first time.
    pub completed_at: Option<Timestamp>,
    /// The status events that it announced, in order.
    pub announced: Vec<&'static str>,
}

/// A payment that would have ended otherwise, or on another way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The payment.
    pub payment_id: PaymentId,
    /// Whose it is.
    pub merchant_id: MerchantId,
    /// The merchant's name for it.
    pub order_id: String,
    /// What differs, and how surely.
    pub kind: Kind,
    /// As it is recorded.
    pub recorded: Outcome,
    /// As it would be; where the events do not tell a moment, with the latest that they allow.
    pub what_if: Outcome,
    /// As it would be with the earliest moments that the events allow, where that ends otherwise.
    pub what_if_earliest: Option<Outcome>,
    /// What was done then and would have been refused.
    pub refused: Vec<String>,
}

/// How a payment under the other policy compares to the recorded one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing differs but, perhaps, moments.
    Same,
    /// It ends as recorded, having announced other things on the way.
    OtherWay,
    /// It ends otherwise.
    OtherEnd,
    /// The events do not tell: one end or the other.
    Uncertain,
}

/// What one payment came to.
pub(super) struct Compared {
    pub(super) difference: Difference,
    pub(super) completion: Completion,
    pub(super) recorded: Vec<PaymentEvent>,
    pub(super) latest: Ran,
    pub(super) earliest: Option<Ran>,
}

/// When the payment would have been completed for the first time, compared to when it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completion {
    /// At the same moment, or neither.
    Same,
    Sooner,
    Later,
    /// Only the one of the two, or the bounds do not tell.
    Other,
}

/// Why a payment was not compared.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotCompared {
    #[error(transparent)]
    Facts(#[from] FactsError),
    #[error("its facts under its own policy do not end as recorded: {0}")]
    NotReproduced(String),
}

/// Decides a payment's stream again under its own policy, which must give what is recorded, and under the other one.
pub(super) fn compare(events: Vec<PaymentEvent>, world: World<'_>) -> Result<Compared, NotCompared> {
    let facts = tell_back(&events)?;
    check_reproduction(&facts, &events, world.horizon)?;
    let latest = run(&facts, world, Bound::Latest);
    let earliest = latest.is_bounded.then(|| run(&facts, world, Bound::Earliest));

    let recorded = outcome_of_events(&events);
    let what_if = outcome(&latest.payment, &latest.events);
    let first = earliest.as_ref().map(|ran| outcome(&ran.payment, &ran.events));
    let kind = kind(&recorded, &what_if, first.as_ref());
    let completion = completion(&recorded, &what_if, first.as_ref());
    let create = &facts.create;
    let difference = Difference {
        payment_id: create.payment_id,
        merchant_id: create.merchant_id,
        order_id: create.order_id.clone(),
        kind,
        what_if_earliest: first.filter(|first| !first.ends_as(&what_if) || first.announced != what_if.announced),
        recorded,
        what_if,
        refused: latest.refused.clone(),
    };
    Ok(Compared { difference, completion, recorded: events, latest, earliest })
}

/// Under its own policy a payment must announce exactly what it announced, or its facts were not understood.
fn check_reproduction(facts: &Facts, events: &[PaymentEvent], horizon: Timestamp) -> Result<(), NotCompared> {
    let own = Overrides::default();
    let heads = Heads::default();
    let ran = run(facts, World { overrides: &own, heads: &heads, horizon }, Bound::Latest);
    let recorded: Vec<_> = events.iter().filter_map(announcement).collect();
    let again: Vec<_> = ran.events.iter().filter_map(announcement).collect();
    if recorded == again {
        return Ok(());
    }
    let differs = recorded.iter().zip(&again).take_while(|(recorded, again)| recorded == again).count();
    let shown = |of: Option<&Announcement<'_>>| of.map_or("nothing", |announcement| announcement.0);
    Err(NotCompared::NotReproduced(format!(
        "status event {} was {}, and is {}",
        differs.saturating_add(1),
        shown(recorded.get(differs)),
        shown(again.get(differs)),
    )))
}

/// A status event without the count of confirmations, which events without a change of status do not keep.
type Announcement<'a> = (&'static str, wopay_domain::payment::Flags, [u128; 2], Option<&'a str>, Timestamp);

fn announcement(event: &PaymentEvent) -> Option<Announcement<'_>> {
    let standing = event.standing()?;
    let amounts = [standing.amount_received.minor(), standing.amount_confirmed.minor()];
    Some((event.name(), standing.flags, amounts, standing.transaction_hash.as_deref(), standing.at))
}

fn outcome_of_events(events: &[PaymentEvent]) -> Outcome {
    let mut payment = Payment::default();
    for event in events {
        wopay_domain::payment::evolve(&mut payment, event.clone());
    }
    outcome(&payment, events)
}

fn outcome(payment: &Payment, events: &[PaymentEvent]) -> Outcome {
    let totals = payment.state().and_then(|state| state.totals().ok());
    let minor = |amount: Option<u128>| amount.unwrap_or(0).to_string();
    Outcome {
        status: payment.state().map_or("refused", |state| state.status.as_str()),
        flags: payment.state().map_or_else(Vec::new, |state| state.flags.names()),
        amount_received: minor(totals.as_ref().map(|totals| totals.received.minor())),
        amount_confirmed: minor(totals.as_ref().map(|totals| totals.confirmed.minor())),
        completed_at: payment.state().and_then(completed_at),
        announced: events.iter().filter(|event| event.standing().is_some()).map(PaymentEvent::name).collect(),
    }
}

const fn completed_at(state: &PaymentState) -> Option<Timestamp> {
    state.completed_at
}

impl Outcome {
    /// Whether both end with the same status, flags and money.
    fn ends_as(&self, other: &Self) -> bool {
        self.status == other.status
            && self.flags == other.flags
            && self.amount_received == other.amount_received
            && self.amount_confirmed == other.amount_confirmed
    }

    /// Status and flags in one line, for example `completed overpaid`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut words = vec![self.status];
        words.extend(&self.flags);
        words.join(" ")
    }
}

fn kind(recorded: &Outcome, latest: &Outcome, earliest: Option<&Outcome>) -> Kind {
    match earliest {
        Some(earliest) if !earliest.ends_as(latest) || earliest.announced != latest.announced => Kind::Uncertain,
        _ if !latest.ends_as(recorded) => Kind::OtherEnd,
        _ if latest.announced != recorded.announced => Kind::OtherWay,
        _ => Kind::Same,
    }
}

/// Compares the first completion; `earliest` and `latest` bound it.
fn completion(recorded: &Outcome, latest: &Outcome, earliest: Option<&Outcome>) -> Completion {
    let first = earliest.unwrap_or(latest).completed_at;
    match (recorded.completed_at, first, latest.completed_at) {
        (None, None, None) => Completion::Same,
        (Some(was), Some(first), Some(last)) if was == first && was == last => Completion::Same,
        (Some(was), Some(_), Some(last)) if last < was => Completion::Sooner,
        (Some(was), Some(first), Some(last)) if last == was && first < was => Completion::Sooner,
        (Some(was), Some(first), Some(_)) if first >= was => Completion::Later,
        _ => Completion::Other,
    }
}
