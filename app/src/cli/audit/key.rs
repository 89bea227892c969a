//! `wopay audit key`: what checks our signatures. To be handed to auditors, by another way than the checkpoints.

use wopay_audit::AuditKey;

use crate::cli::print_line;
use crate::config::Loaded;
use crate::keys;

/// Prints it.
///
/// # Errors
/// When the master key is not to be had.
pub(super) fn run(loaded: &Loaded) -> anyhow::Result<bool> {
    let master = keys::existing_master_key(&loaded.config)?;
    print_line(&AuditKey::derive(&master, &loaded.config.audit_origin())?.public().to_string());
    Ok(true)
}
