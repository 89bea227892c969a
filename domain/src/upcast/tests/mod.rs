#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod golden;

use std::borrow::Cow;

use super::{UpcastError, current_version, text, versions};

#[test]
fn the_current_version_is_read_as_it_is() {
    let payload = r#"{"DepositDetected": {}}"#;
    assert!(matches!(text("DepositDetected", "1.1", payload), Ok(Cow::Borrowed(_))));
    assert!(matches!(text("PaymentCreated", "1.0", "whatever"), Ok(Cow::Borrowed("whatever"))));
    assert!(matches!(text("PaymentCompleted", "1.0", "whatever"), Ok(Cow::Borrowed("whatever"))), "compatible");
}

#[test]
fn an_older_version_is_edited() {
    let read = text("DepositDetected", "1.0", r#"{"DepositDetected": {"revision": 1}}"#).unwrap();
    let read: serde_json::Value = serde_json::from_str(&read).unwrap();
    assert_eq!(read, serde_json::json!({"DepositDetected": {"revision": 1, "merchant_id": null}}));
}

#[test]
fn an_unknown_version_is_refused_by_name() {
    for version in ["1.2", "2.0", "0.9", "", "1", "1.0 "] {
        let error = text("DepositDetected", version, "{}").unwrap_err();
        assert!(matches!(error, UpcastError::UnknownVersion { newest: "1.1", .. }), "{version}: {error:?}");
    }
    assert!(matches!(text("PaymentCreated", "1.1", "{}"), Err(UpcastError::UnknownVersion { newest: "1.0", .. })));
}

#[test]
fn a_payload_of_another_type_is_refused() {
    for payload in ["", "[]", "{}", r#"{"DepositConfirmed": {}}"#, r#"{"DepositDetected": 1}"#] {
        assert!(matches!(text("DepositDetected", "1.0", payload), Err(UpcastError::Json(_))), "{payload}");
    }
}

#[test]
fn every_step_begins_where_the_one_before_ended() {
    for step in super::STEPS {
        let mut reached = super::FIRST_VERSION;
        for next in super::steps_of(step.event_type) {
            assert_eq!(next.from, reached, "{}", step.event_type);
            reached = next.to;
        }
        assert_eq!(current_version(step.event_type), reached);
        assert_eq!(versions(step.event_type).last(), Some(reached));
    }
}
