//! The other policy: what a what-if replay changes in the terms that each payment froze.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use serde::Serialize;
use wopay_domain::payment::{LateDeposits, PaymentTerms};
use wopay_domain::{ChainName, Percentage, Timestamp};

/// What is different in the other policy. What is `None` or absent stays as each payment froze it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Overrides {
    /// Confirmations that a deposit on these chains needs, at least 1.
    pub confirmations: BTreeMap<ChainName, u32>,
    /// How much less than the amount is still enough.
    pub tolerance: Option<Percentage>,
    /// What becomes of money in blocks after the deadline.
    pub late: Option<LateDeposits>,
    /// A share of the money that each payment confirmed, rounded down per payment to whole minor units.
    pub fee: Option<Percentage>,
    /// How long after its creation a payment expires.
    #[serde(rename = "expires_in_s", serialize_with = "as_seconds")]
    pub expires_in: Option<Duration>,
}

impl Overrides {
    /// Whether nothing is different: then the replay must end exactly as it was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// The terms under this policy.
    pub(super) fn apply(&self, terms: &PaymentTerms, created_at: Timestamp) -> PaymentTerms {
        let mut terms = terms.clone();
        if let Some(confirmations) = self.confirmations.get(&terms.chain) {
            terms.policy.required_confirmations = (*confirmations).max(1);
        }
        if let Some(tolerance) = self.tolerance {
            terms.policy.underpayment_tolerance = tolerance;
        }
        if let Some(late) = self.late {
            terms.policy.late_deposits = late;
        }
        if let Some(expires_in) = self.expires_in {
            terms.expires_at = later_by(created_at, expires_in);
        }
        terms
    }
}

/// `from + by`; the last moment there is where that is too far.
fn later_by(from: Timestamp, by: Duration) -> Timestamp {
    let by = TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
    from.checked_add_signed(by).unwrap_or(Timestamp::MAX_UTC)
}

fn as_seconds<S: serde::Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs()).serialize(serializer)
}
