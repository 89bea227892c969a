//! Old versions of events, brought up to the shape that is written today. What was stored stays as it is; whoever reads it
//! sees the current shape, so nothing else in the program knows that there ever was another.
//!
//! `STEPS` is the whole history: one line for each change of an event's shape. An event type without a line has had one
//! version, `1.0`. A step works on the JSON, not on Rust types, so that it stays true when the types move on.

mod payment;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::{Map, Value};

/// The version that every event type begins with.
pub const FIRST_VERSION: &str = "1.0";

/// How one version of an event's shape becomes the next.
#[derive(Clone, Copy)]
enum Change {
    /// What the older version wrote is also valid in the newer: a field was added that may be left out.
    Compatible,
    /// The event's fields are edited.
    Edit(fn(&mut Map<String, Value>)),
}

/// One change of an event's shape.
struct Step {
    event_type: &'static str,
    from: &'static str,
    to: &'static str,
    change: Change,
}

const fn step(event_type: &'static str, from: &'static str, to: &'static str, change: Change) -> Step {
    Step { event_type, from, to, change }
}

/// Every change ever made, of one type in the order of its versions. Lines are added, never removed or edited.
const STEPS: &[Step] = &[
    // 1.1: the pending layer of the books.
    step("DepositDetected", "1.0", "1.1", Change::Edit(payment::seen_without_pending_entry)),
    step("DepositReincluded", "1.0", "1.1", Change::Edit(payment::seen_without_pending_entry)),
    step("DepositConfirmed", "1.0", "1.1", Change::Edit(payment::nothing_pending_to_release)),
    step("DepositOrphaned", "1.0", "1.1", Change::Edit(payment::nothing_pending_to_release)),
    // 1.1: refunds in the standing, left out when there are none.
    step("PaymentPartiallyPaid", "1.0", "1.1", Change::Compatible),
    step("PaymentConfirming", "1.0", "1.1", Change::Compatible),
    step("PaymentCompleted", "1.0", "1.1", Change::Compatible),
    step("PaymentAdjusted", "1.0", "1.1", Change::Compatible),
    step("PaymentExpired", "1.0", "1.1", Change::Compatible),
    step("PaymentCancelled", "1.0", "1.1", Change::Compatible),
    step("PaymentHeld", "1.0", "1.1", Change::Compatible),
    step("PaymentReversed", "1.0", "1.1", Change::Compatible),
    step("PaymentReopened", "1.0", "1.1", Change::Compatible),
    // 1.1: the payment that held it, left out without one.
    step("DepositAssigned", "1.0", "1.1", Change::Compatible),
    // 1.2: since when the money counts by decision, left out where nobody decided.
    step("DepositReincluded", "1.1", "1.2", Change::Compatible),
    step("DepositConfirmed", "1.1", "1.2", Change::Compatible),
    step("DepositOrphaned", "1.1", "1.2", Change::Compatible),
    // 1.1: the least that is no dust, left out where everything counts.
    step("TokenAdded", "1.0", "1.1", Change::Compatible),
];

/// Why an old event cannot be brought up.
#[derive(Debug, thiserror::Error)]
pub enum UpcastError {
    /// No version that this program has ever written, most likely one of a newer program.
    #[error("{event_type} v{event_version} is unknown; this program reads v{newest} and older: use a newer one")]
    UnknownVersion {
        /// The event's type.
        event_type: String,
        /// Its version.
        event_version: String,
        /// The newest version of the type.
        newest: &'static str,
    },
    /// The payload is not JSON, or not that of its type.
    #[error("the payload cannot be read")]
    Json(#[from] serde_json::Error),
}

/// The version in which an event type is written today.
#[must_use]
pub fn current_version(event_type: &str) -> &'static str {
    steps_of(event_type).last().map_or(FIRST_VERSION, |step| step.to)
}

/// A stored payload in its type's current shape: itself, not copied, when nothing has to change.
///
/// # Errors
/// When the version is unknown, or the payload is not JSON of the type.
pub fn text<'a>(event_type: &str, event_version: &str, payload: &'a str) -> Result<Cow<'a, str>, UpcastError> {
    match pending_steps(event_type, event_version)? {
        None => Ok(Cow::Borrowed(payload)),
        Some(steps) => {
            let mut value = serde_json::from_str(payload)?;
            edit(&mut value, event_type, steps)?;
            Ok(Cow::Owned(serde_json::to_string(&value)?))
        }
    }
}

/// The same for a payload that was read into a [`Value`].
///
/// # Errors
/// When the version is unknown, or the payload is not that of the type.
pub fn value(event_type: &str, event_version: &str, mut payload: Value) -> Result<Value, UpcastError> {
    if let Some(steps) = pending_steps(event_type, event_version)? {
        edit(&mut payload, event_type, steps)?;
    }
    Ok(payload)
}

/// Every version in which events of a type were ever written, oldest first.
pub fn versions(event_type: &str) -> impl Iterator<Item = &'static str> {
    std::iter::once(FIRST_VERSION).chain(steps_of(event_type).map(|step| step.to))
}

fn steps_of(event_type: &str) -> impl DoubleEndedIterator<Item = &'static Step> {
    STEPS.iter().filter(move |step| step.event_type == event_type)
}

/// The edits from a version to the current one; `None` when the text can be read as it is.
fn pending_steps(event_type: &str, version: &str) -> Result<Option<impl Iterator<Item = &'static Step>>, UpcastError> {
    let mut newest = FIRST_VERSION;
    let mut found = version == FIRST_VERSION;
    let mut edits = false;
    for step in steps_of(event_type) {
        edits |= found && matches!(step.change, Change::Edit(_));
        found |= step.to == version;
        newest = step.to;
    }
    if !found {
        let (event_type, event_version) = (event_type.to_owned(), version.to_owned());
        return Err(UpcastError::UnknownVersion { event_type, event_version, newest });
    }
    Ok(edits.then(|| {
        let from = version.to_owned();
        steps_of(event_type).skip_while(move |step| step.from != from)
    }))
}

/// Applies the steps to `{"<event type>": {…fields…}}`.
fn edit(
    payload: &mut Value,
    event_type: &str,
    steps: impl Iterator<Item = &'static Step>,
) -> Result<(), serde_json::Error> {
    let fields = payload.get_mut(event_type).and_then(Value::as_object_mut);
    let fields = fields.ok_or_else(|| {
        <serde_json::Error as serde::de::Error>::custom(format_args!("the payload does not hold a {event_type}"))
    })?;
    for step in steps {
        match step.change {
            Change::Compatible => {}
            Change::Edit(edit) => edit(fields),
        }
    }
    Ok(())
}
