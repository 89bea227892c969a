//! Folding events into the state. Never fails: what was recorded happened.

use super::event::AccessKeyEvent;
use super::state::{AccessKey, AccessKeyState};

/// Folds one event into the access key.
pub fn evolve(key: &mut AccessKey, event: AccessKeyEvent) {
    match (&mut key.0, event) {
        (state @ None, AccessKeyEvent::AccessKeyIssued(issued)) => {
            *state = Some(AccessKeyState {
                id: issued.key_id,
                role: issued.role,
                label: issued.label,
                prefix: issued.prefix,
                issued_at: issued.at,
                revoked_at: None,
            });
        }
        (Some(state), AccessKeyEvent::AccessKeyRevoked(revoked)) => {
            state.revoked_at.get_or_insert(revoked.at);
        }
        // A stream begins with its issue and has it once; the store's sequence check keeps it so.
        (Some(_), AccessKeyEvent::AccessKeyIssued(_)) | (None, AccessKeyEvent::AccessKeyRevoked(_)) => {}
    }
}
