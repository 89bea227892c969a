//! Which events follow from a command.

use super::command::AccessKeyCommand;
use super::error::AccessKeyError;
use super::event::{AccessKeyEvent, AccessKeyIssued, AccessKeyRevoked};
use super::state::AccessKey;

/// The longest label, in characters.
pub const LABEL_CHARS_MAX: usize = 64;

/// The events that follow from a command, none if it changes nothing.
///
/// # Errors
/// When the command contradicts the state; then nothing follows.
pub fn decide(key: &AccessKey, command: AccessKeyCommand) -> Result<Vec<AccessKeyEvent>, AccessKeyError> {
    match (key.state(), command) {
        (Some(_), AccessKeyCommand::Issue(_)) => Err(AccessKeyError::AlreadyIssued),
        (None, AccessKeyCommand::Issue(issue)) => {
            if !is_label(&issue.label) {
                return Err(AccessKeyError::Label);
            }
            Ok(vec![AccessKeyEvent::AccessKeyIssued(AccessKeyIssued {
                key_id: issue.key_id,
                role: issue.role,
                label: issue.label,
                prefix: issue.prefix,
                at: issue.at,
            })])
        }
        (None, AccessKeyCommand::Revoke { .. }) => Err(AccessKeyError::NotFound),
        (Some(state), AccessKeyCommand::Revoke { .. }) if state.revoked_at.is_some() => Ok(Vec::new()),
        (Some(state), AccessKeyCommand::Revoke { at }) => {
            Ok(vec![AccessKeyEvent::AccessKeyRevoked(AccessKeyRevoked { key_id: state.id, at })])
        }
    }
}

fn is_label(text: &str) -> bool {
    let sized = (1..=LABEL_CHARS_MAX).contains(&text.chars().count());
    sized && !text.trim().is_empty() && !text.chars().any(char::is_control)
}
