#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use chrono::DateTime;
use cqrs_es::DomainEvent as _;
use uuid::Uuid;

use super::{
    AccessKey, AccessKeyCommand, AccessKeyError, AccessKeyEvent, AccessRole, IssueAccessKey, LABEL_CHARS_MAX, decide,
    evolve,
};
use crate::Timestamp;
use crate::ids::AccessKeyId;

fn at(second: i64) -> Timestamp {
    DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
}

fn issue(label: &str) -> AccessKeyCommand {
    AccessKeyCommand::Issue(IssueAccessKey {
        key_id: AccessKeyId::from_uuid(Uuid::from_u128(1)),
        role: AccessRole::Auditor,
        label: label.to_owned(),
        prefix: "wa_abcdefgh".to_owned(),
        at: at(0),
    })
}

fn revoke(second: i64) -> AccessKeyCommand {
    AccessKeyCommand::Revoke { at: at(second) }
}

/// Applies the commands; the names of the events of the last one.
fn when(commands: Vec<AccessKeyCommand>) -> (AccessKey, Result<Vec<&'static str>, AccessKeyError>) {
    let mut key = AccessKey::default();
    let mut last = Ok(Vec::new());
    for command in commands {
        last = decide(&key, command).map(|events| {
            let names = events.iter().map(AccessKeyEvent::name).collect();
            events.into_iter().for_each(|event| evolve(&mut key, event));
            names
        });
    }
    (key, last)
}

#[test]
fn a_key_is_issued_once_with_a_role_and_a_label() {
    let (key, events) = when(vec![issue("year end 2026")]);
    assert_eq!(events, Ok(vec!["AccessKeyIssued"]));
    let state = key.state().unwrap();
    assert!(state.is_live());
    assert_eq!((state.role, state.label.as_str(), state.issued_at), (AccessRole::Auditor, "year end 2026", at(0)));
    assert_eq!(when(vec![issue("a"), issue("a")]).1, Err(AccessKeyError::AlreadyIssued));
}

#[test]
fn a_label_is_short_and_printable() {
    for label in ["", " ", "a\nb", "a\u{7}", &"x".repeat(LABEL_CHARS_MAX + 1)] {
        assert_eq!(when(vec![issue(label)]).1, Err(AccessKeyError::Label), "{label:?}");
    }
    assert_eq!(when(vec![issue(&"ü".repeat(LABEL_CHARS_MAX))]).1, Ok(vec!["AccessKeyIssued"]));
}

#[test]
fn a_key_is_revoked_for_ever() {
    assert_eq!(when(vec![revoke(1)]).1, Err(AccessKeyError::NotFound));
    let (key, events) = when(vec![issue("a"), revoke(1)]);
    assert_eq!(events, Ok(vec!["AccessKeyRevoked"]));
    assert!(!key.state().unwrap().is_live());
    let (key, events) = when(vec![issue("a"), revoke(1), revoke(2)]);
    assert_eq!(events, Ok(vec![]));
    assert_eq!(key.state().unwrap().revoked_at, Some(at(1)), "the first time counts");
    assert_eq!(when(vec![issue("a"), revoke(1), issue("a")]).1, Err(AccessKeyError::AlreadyIssued));
}

/// The shapes of version 1.0, which stay readable for ever.
#[test]
fn the_stored_shapes_never_change() {
    let golden = [
        r#"{"AccessKeyIssued":{"key_id":"00000000-0000-0000-0000-000000000001","role":"auditor","label":"books","prefix":"wa_abcdefgh","at":"2023-11-14T22:13:20Z"}}"#,
        r#"{"AccessKeyRevoked":{"key_id":"00000000-0000-0000-0000-000000000001","at":"2023-11-14T22:13:21Z"}}"#,
    ];
    let mut key = AccessKey::default();
    for (command, line) in [issue("books"), revoke(1)].into_iter().zip(golden) {
        let events = decide(&key, command).unwrap();
        let event = events.into_iter().next().unwrap();
        assert_eq!(event.event_version(), "1.0");
        assert_eq!(serde_json::to_string(&event).unwrap(), line);
        assert_eq!(serde_json::from_str::<AccessKeyEvent>(line).unwrap(), event);
        evolve(&mut key, event);
    }
    assert!(!key.state().unwrap().is_live());
}

#[test]
fn roles_have_one_name() {
    for role in AccessRole::ALL {
        assert_eq!(role.as_str().parse(), Ok(role));
        assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
    }
    assert!("Finance".parse::<AccessRole>().is_err() && "operator".parse::<AccessRole>().is_err());
}
