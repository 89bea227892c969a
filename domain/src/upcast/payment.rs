//! Edits of payment events.

use serde_json::{Map, Value};

/// 1.0 → 1.1 of a deposit that was seen: it does not say whose it is, and made no pending entry.
pub(super) fn seen_without_pending_entry(fields: &mut Map<String, Value>) {
    fields.insert("merchant_id".to_owned(), Value::Null);
}

/// 1.0 → 1.1 of what ends a deposit's wait: there is no pending entry that it could release.
pub(super) fn nothing_pending_to_release(fields: &mut Map<String, Value>) {
    fields.insert("releases_pending".to_owned(), Value::Bool(false));
}
