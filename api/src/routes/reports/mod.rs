//! `/api/v1/reports`: sums by day, week and month. The house reads those of every merchant, a merchant its own.

pub(crate) mod fees;
pub(crate) mod volume;

use wopay_projections::reports::{Granularity, GroupBy, ReportCursor, ReportRequest};

use crate::auth::Reader;
use crate::extract::{Query, read, take_moment_and_place};
use crate::routes::ledger::take_period;

const GRANULARITIES: &[(&str, Granularity)] =
    &[("day", Granularity::Day), ("week", Granularity::Week), ("month", Granularity::Month)];
const GROUPS: &[(&str, GroupBy)] =
    &[("merchant", GroupBy::Merchant), ("chain", GroupBy::Chain), ("asset", GroupBy::Asset)];

/// Takes what every report is asked for: the request, and where its page begins.
fn take_request(query: &mut Query, caller: Reader) -> (ReportRequest, Option<ReportCursor>) {
    let (as_of, place) = take_moment_and_place(query);
    let request = ReportRequest {
        scope: caller.scope(),
        period: take_period(query),
        granularity: query.take("granularity", read::one_of(GRANULARITIES)).unwrap_or(Granularity::Day),
        by: query.take("by", read::one_of(GROUPS)).unwrap_or(GroupBy::Asset),
        merchant: query.take("merchant", read::id),
        asset: query.take("asset", read::asset),
        chain: query.take("blockchain", read::chain),
        as_of,
    };
    (request, place)
}
