//! Names in NATS: streams, subjects, headers.
//!
//! A ledger is one total order, so it has a stream of its own, and the stream's sequence can fence a second relay. The
//! ledger `main` of a default installation has `WOPAY_EVENTS`, another has `WOPAY_EVENTS_<ledger>`. Commands of all ledgers
//! share `WOPAY_COMMANDS`; the last token of the subject names the ledger.

use wopay_domain::RecordedEvent;

use crate::error::BusError;

/// The ledger that a default installation has.
pub const DEFAULT_LEDGER: &str = "main";
/// The command stream.
pub const COMMANDS_STREAM: &str = "WOPAY_COMMANDS";
/// Every command of every ledger.
pub const ALL_COMMANDS: &str = "wopay.commands.>";
/// Header of an announced event: its position.
pub const POSITION_HEADER: &str = "Wopay-Position";
/// Header of a command: the ledger it is for.
pub const LEDGER_HEADER: &str = "Wopay-Ledger";

const EVENTS_STREAM: &str = "WOPAY_EVENTS";
const LEDGER_NAME_CHARACTERS_MAX: usize = 48;

/// The stream that announces a ledger's events: `WOPAY_EVENTS`, or `WOPAY_EVENTS_<ledger>` for one not called `main`.
#[must_use]
pub fn events_stream(ledger: &str) -> String {
    if ledger == DEFAULT_LEDGER { EVENTS_STREAM.to_owned() } else { format!("{EVENTS_STREAM}_{ledger}") }
}

/// Every event of a ledger: `wopay.events.<ledger>.>`.
#[must_use]
pub fn all_events(ledger: &str) -> String {
    format!("wopay.events.{ledger}.>")
}

/// `wopay.events.<ledger>.<aggregate_type>.<aggregate_id>.<event_type>`; what a subject cannot hold becomes `_`.
#[must_use]
pub fn event_subject(ledger: &str, aggregate_type: &str, aggregate_id: &str, event_type: &str) -> String {
    let [kind, id, event] = [aggregate_type, aggregate_id, event_type].map(token);
    format!("wopay.events.{ledger}.{kind}.{id}.{event}")
}

/// [`event_subject`] of a recorded event.
#[must_use]
pub fn subject_of(ledger: &str, event: &RecordedEvent) -> String {
    event_subject(ledger, &event.aggregate_type, &event.aggregate_id, &event.event_type)
}

/// The message id of an event: `<ledger>-<position>`.
#[must_use]
pub fn event_message_id(ledger: &str, position: i64) -> String {
    format!("{ledger}-{position}")
}

/// `wopay.commands.<aggregate>.<command>.<ledger>`.
///
/// # Errors
/// `kind` is not `<aggregate>.<command>` in characters that a subject takes.
pub fn command_subject(ledger: &str, kind: &str) -> Result<String, BusError> {
    let is_token = |part: &str| !part.is_empty() && part.bytes().all(is_token_byte);
    match kind.split_once('.') {
        Some((aggregate, command)) if is_token(aggregate) && is_token(command) => {
            Ok(format!("wopay.commands.{kind}.{ledger}"))
        }
        _ => Err(BusError::CommandKind(kind.to_owned())),
    }
}

/// Every command for a ledger.
pub(crate) fn commands_for(ledger: &str) -> String {
    format!("wopay.commands.*.*.{ledger}")
}

/// The kind in a command's subject.
pub(crate) fn command_kind<'a>(ledger: &str, subject: &'a str) -> Option<&'a str> {
    subject.strip_prefix("wopay.commands.")?.strip_suffix(ledger)?.strip_suffix('.')
}

/// The durable consumer of a follower in its ledger's stream: `<ledger>-<name>`; what a name cannot hold becomes `_`.
pub(crate) fn follower_consumer(ledger: &str, name: &str) -> String {
    format!("{ledger}-{}", token(name))
}

/// The durable consumer of a ledger's commands: `<ledger>@<name>`, as other ledgers have theirs in the same stream.
pub(crate) fn command_consumer(ledger: &str, name: &str) -> String {
    format!("{ledger}@{}", token(name))
}

/// Checks a ledger's name, which becomes part of subjects and stream names.
pub(crate) fn check_ledger_name(name: &str) -> Result<(), BusError> {
    let fits = (1..=LEDGER_NAME_CHARACTERS_MAX).contains(&name.len()) && name.bytes().all(is_token_byte);
    if fits { Ok(()) } else { Err(BusError::LedgerName(name.to_owned())) }
}

fn token(text: &str) -> String {
    if text.is_empty() {
        return "_".to_owned();
    }
    text.chars()
        .map(|character| if character.is_ascii() && is_token_char(character) { character } else { '_' })
        .collect()
}

fn is_token_char(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '-' || character == '_'
}

fn is_token_byte(byte: u8) -> bool {
    is_token_char(char::from(byte))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test reports by panicking")]
mod tests {
    use super::*;

    #[test]
    fn each_ledger_has_a_stream() {
        assert_eq!(events_stream("main"), "WOPAY_EVENTS");
        assert_eq!(events_stream("eu-1"), "WOPAY_EVENTS_eu-1");
    }

    #[test]
    fn a_subject_holds_only_tokens() {
        assert_eq!(event_subject("main", "payment", "a.b c>", ""), "wopay.events.main.payment.a_b_c_._");
    }

    #[test]
    fn a_command_subject_gives_its_kind_back() {
        let subject = command_subject("main", "payment.observe_deposit").unwrap();
        assert_eq!(subject, "wopay.commands.payment.observe_deposit.main");
        assert_eq!(command_kind("main", &subject), Some("payment.observe_deposit"));
        for wrong in ["", "payment", "payment.", "payment.a.b", "payment.*", "payment.a b"] {
            assert!(command_subject("main", wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_ledger_name_is_a_token() {
        assert!(check_ledger_name("test_018f-A").is_ok());
        let long = "x".repeat(49);
        for wrong in ["", "a.b", "a b", "*", "é", long.as_str()] {
            assert!(check_ledger_name(wrong).is_err(), "{wrong:?}");
        }
    }
}
