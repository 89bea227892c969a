//! `GET /api/v1/reports/volume`: what merchants took in.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use wopay_domain::{MerchantId, Timestamp};
use wopay_projections::reports::{self, VolumeRow};

use super::take_request;
use crate::auth::Reader;
use crate::extract::{Preferred, Query};
use crate::list::List;
use crate::problem::{Problem, ProblemBody};
use crate::routes::ledger::body::{AssetFields, shown};
use crate::routes::ledger::take_limit;
use crate::state::AppState;
use crate::table::{Cell, TableRow, moment, optional};

/// The volume of a period. Money that is held, and so belongs to nobody yet, is not in it.
#[derive(Serialize, ToSchema)]
#[schema(as = Volume)]
pub(crate) struct VolumeBody {
    /// When the row's day, week or month begins, in UTC.
    #[schema(value_type = DateTime<Utc>)]
    period_start: Timestamp,
    /// The merchant; null if the report is not by merchant.
    #[schema(value_type = Option<uuid::Uuid>)]
    merchant_id: Option<MerchantId>,
    #[serde(flatten)]
    asset: AssetFields,
    /// Deposits credited: confirmed, or assigned by an operator.
    deposits: u64,
    /// Their sum.
    gross: String,
    /// Deposits that were credited and then taken back by a reorganization.
    orphaned: u64,
    /// Their sum.
    taken_back: String,
    /// Refunds completed.
    refunds: u64,
    /// Their sum.
    refunded: String,
    /// `gross` less `taken_back` less `refunded`: what is owed to merchants grew by it. May be below zero.
    net: String,
}

impl TableRow for VolumeBody {
    const COLUMNS: &'static [&'static str] = &[
        "period_start",
        "merchant_id",
        "blockchain",
        "asset",
        "currency",
        "decimals",
        "deposits",
        "gross",
        "orphaned",
        "taken_back",
        "refunds",
        "refunded",
        "net",
    ];

    fn cells(&self) -> Vec<Cell<'_>> {
        let mut cells = vec![moment(self.period_start), optional(self.merchant_id)];
        cells.extend(self.asset.cells());
        cells.extend([
            self.deposits.to_string().into(),
            Cell::from(self.gross.as_str()),
            self.orphaned.to_string().into(),
            Cell::from(self.taken_back.as_str()),
            self.refunds.to_string().into(),
            Cell::from(self.refunded.as_str()),
            Cell::from(self.net.as_str()),
        ]);
        cells
    }
}

impl VolumeBody {
    fn of(row: &VolumeRow) -> Self {
        Self {
            period_start: row.starts_at,
            merchant_id: row.merchant,
            asset: AssetFields::of(&row.asset),
            deposits: row.deposits,
            gross: shown(&row.asset, row.gross),
            orphaned: row.orphaned,
            taken_back: shown(&row.asset, row.taken_back),
            refunds: row.refunds,
            refunded: shown(&row.asset, row.refunded),
            net: shown(&row.asset, row.net),
        }
    }
}

/// The volume by period, merchant and asset. Periods without any are left out.
#[utoipa::path(
    get,
    path = "/api/v1/reports/volume",
    operation_id = "get_volume_report",
    tag = "reports",
    params(
        ("from" = Option<DateTime<Utc>>, Query, description = "From this moment on (RFC 3339)"),
        ("to" = Option<DateTime<Utc>>, Query, description = "Before this moment (RFC 3339)"),
        ("axis" = Option<String>, Query, description = "Which time counts, also for the rows: `effective` (if not given) or `recorded`"),
        ("granularity" = Option<String>, Query, description = "`day` (if not given), `week` from Monday, or `month`; in UTC"),
        ("by" = Option<String>, Query, description = "A row is about one `asset` (if not given), one `merchant` in one asset, or one asset of a `chain`"),
        ("merchant" = Option<uuid::Uuid>, Query, description = "Only this merchant"),
        ("asset" = Option<String>, Query, description = "Only this asset, such as `bsc/native`"),
        ("blockchain" = Option<String>, Query, description = "Only assets on this chain"),
        ("as_of" = Option<String>, Query, description = "As known then: a position of the ledger, or a time of recording (RFC 3339)"),
        ("effective_at" = Option<DateTime<Utc>>, Query, description = "Only what had taken effect then; not with `axis=recorded`"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Rows a page, 100 if not given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before; it keeps the position"),
        ("format" = Option<String>, Query, description = "`json` or `csv`; `Accept: text/csv` does the same"),
    ),
    responses(
        (status = 200, description = "A page of the report", content((List<VolumeBody> = "application/json"), (String = "text/csv"))),
        (status = 400, body = ProblemBody<'static>, description = "`invalid_query`: a parameter is unknown or not valid"),
        (status = 401, body = ProblemBody<'static>, description = "`unauthorized`: no valid key"),
        (status = 403, body = ProblemBody<'static>, description = "`merchant_suspended`"),
        (status = 409, body = ProblemBody<'static>, description = "`position_not_reached`"),
    ),
    security(("api_key" = []), ("access_key" = []))
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    caller: Reader,
    preferred: Preferred,
    mut query: Query,
) -> Result<Response, Problem> {
    let (request, place) = take_request(&mut query, caller);
    let limit = take_limit(&mut query);
    let format = preferred.take(&mut query);
    query.finish()?;
    let page = reports::volume(&state.parts.pool, &request, place.as_ref(), limit).await?;
    List::of(&page, VolumeBody::of).respond(format, "report-volume")
}
