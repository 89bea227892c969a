//! The clock of this crate.

use chrono::{SubsecRound, Utc};
use wopay_domain::Timestamp;

/// Now, in the microseconds that Postgres keeps.
pub(crate) fn now() -> Timestamp {
    Utc::now().trunc_subsecs(6)
}
