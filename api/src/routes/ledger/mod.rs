//! `/api/v1/ledger`: the books. The house reads those of every merchant, a merchant its own.

pub(crate) mod accounts;
pub(crate) mod body;
pub(crate) mod entries;
pub(crate) mod statements;
pub(crate) mod trial_balance;

use wopay_domain::ledger::Layer;
use wopay_projections::{Period, Scope, TimeAxis};

use crate::auth::Reader;
use crate::extract::{Query, read};

/// Rows of a page at most; they are narrow, and finance wants many.
pub(crate) const LIMIT_MAX: u16 = 1_000;
/// Rows of a page when nothing is said.
pub(crate) const LIMIT_DEFAULT: u16 = 100;

const AXES: &[(&str, TimeAxis)] = &[("effective", TimeAxis::Effective), ("recorded", TimeAxis::Recorded)];
const LAYERS: &[(&str, Layer)] = &[("pending", Layer::Pending), ("posted", Layer::Posted)];

impl Reader {
    /// Whose books the caller may see.
    pub(crate) fn scope(self) -> Scope {
        match self {
            Self::Merchant(merchant) => Scope::Merchant(merchant),
            Self::House => Scope::All,
        }
    }
}

/// Takes `limit`.
pub(crate) fn take_limit(query: &mut Query) -> u16 {
    query.take("limit", read::limit(LIMIT_MAX)).unwrap_or(LIMIT_DEFAULT)
}

/// Takes `from`, `to` and `axis`.
pub(crate) fn take_period(query: &mut Query) -> Period {
    let period = Period {
        axis: query.take("axis", read::one_of(AXES)).unwrap_or_default(),
        from: query.take("from", read::time),
        to: query.take("to", read::time),
    };
    if let (Some(from), Some(to)) = (period.from, period.to)
        && from > to
    {
        query.refuse("to", "invalid", "must not be before from");
    }
    period
}

/// Takes `layer`.
pub(crate) fn take_layer(query: &mut Query) -> Option<Layer> {
    query.take("layer", read::one_of(LAYERS))
}
