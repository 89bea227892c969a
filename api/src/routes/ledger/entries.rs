//! `GET /api/v1/ledger/entries`: the journal, line by line.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use wopay_domain::{MerchantId, PaymentId, Timestamp};
use wopay_projections::MinorTotal;
use wopay_projections::journal::{self, AggregateRef, EntryFilter, EntryRow};

use super::body::{AssetFields, BalanceFields, shown};
use super::{take_layer, take_limit, take_period};
use crate::auth::Reader;
use crate::extract::{Preferred, Query, read, take_moment_and_place};
use crate::list::List;
use crate::problem::{Problem, ProblemBody};
use crate::state::AppState;
use crate::table::{Cell, TableRow, moment, optional};

/// A line of the journal. The lines of one position are one entry: per asset and layer its debits equal its credits.
#[derive(Serialize, ToSchema)]
#[schema(as = LedgerEntry)]
pub(crate) struct EntryBody {
    /// Position in the ledger of the event that made it.
    position: i64,
    /// Its number among the lines of that event: 1, 2, 3 …
    line: i16,
    /// The event's name.
    #[schema(example = "DepositConfirmed")]
    event_type: String,
    /// Whose event it is: `payment`.
    aggregate_type: String,
    /// The id of that payment.
    aggregate_id: String,
    /// When it was recorded.
    #[schema(value_type = DateTime<Utc>)]
    recorded_at: Timestamp,
    /// When it took effect: the block's time for deposits.
    #[schema(value_type = DateTime<Utc>)]
    effective_at: Timestamp,
    /// The account.
    account: String,
    /// Whose it is; null for accounts of the installation.
    #[schema(value_type = Option<uuid::Uuid>)]
    merchant_id: Option<MerchantId>,
    #[serde(flatten)]
    asset: AssetFields,
    /// `posted`, or `pending`: expected.
    layer: &'static str,
    /// `debit` or `credit`.
    side: &'static str,
    /// Whether it takes away what is pending on the other side.
    releases: bool,
    /// The amount, never negative.
    amount: String,
    #[serde(flatten)]
    balance: BalanceFields,
}

impl TableRow for EntryBody {
    const COLUMNS: &'static [&'static str] = &[
        "position",
        "line",
        "event_type",
        "aggregate_type",
        "aggregate_id",
        "recorded_at",
        "effective_at",
        "account",
        "merchant_id",
        "blockchain",
        "asset",
        "currency",
        "decimals",
        "layer",
        "side",
        "releases",
        "amount",
        "posted",
        "available",
        "pending_in",
        "pending_out",
    ];

    fn cells(&self) -> Vec<Cell<'_>> {
        let mut cells = vec![
            self.position.to_string().into(),
            self.line.to_string().into(),
            self.event_type.as_str().into(),
            self.aggregate_type.as_str().into(),
            self.aggregate_id.as_str().into(),
            moment(self.recorded_at),
            moment(self.effective_at),
            self.account.as_str().into(),
            optional(self.merchant_id),
        ];
        cells.extend(self.asset.cells());
        cells.extend([self.layer, self.side, if self.releases { "true" } else { "false" }].map(Cell::from));
        cells.push(self.amount.as_str().into());
        cells.extend(self.balance.cells());
        cells
    }
}

impl EntryBody {
    /// What the account held after it.
    pub(super) const fn balance(&self) -> &BalanceFields {
        &self.balance
    }

    pub(super) fn of(row: &EntryRow) -> Self {
        Self {
            position: row.position,
            line: row.line,
            event_type: row.event_type.clone(),
            aggregate_type: row.aggregate.aggregate_type.clone(),
            aggregate_id: row.aggregate.aggregate_id.clone(),
            recorded_at: row.recorded_at,
            effective_at: row.effective_at,
            account: row.account.to_string(),
            merchant_id: row.account.merchant(),
            asset: AssetFields::of(&row.asset),
            layer: row.layer.as_str(),
            side: row.side.as_str(),
            releases: row.releases,
            amount: shown(&row.asset, MinorTotal::from(row.amount.minor())),
            balance: BalanceFields::of(&row.asset, row.account.normal_side(), &row.balance),
        }
    }
}

/// The lines of the journal in the ledger's order, each with what its account held after it.
#[utoipa::path(
    get,
    path = "/api/v1/ledger/entries",
    operation_id = "list_ledger_entries",
    tag = "ledger",
    params(
        ("account" = Option<String>, Query, description = "Only this account, such as `custody:bsc`"),
        ("merchant" = Option<uuid::Uuid>, Query, description = "Only accounts of this merchant"),
        ("asset" = Option<String>, Query, description = "Only this asset, such as `bsc/native`"),
        ("blockchain" = Option<String>, Query, description = "Only assets on this chain"),
        ("payment" = Option<uuid::Uuid>, Query, description = "Only what events of this payment made"),
        ("layer" = Option<String>, Query, description = "Only `posted` or only `pending` lines"),
        ("from_position" = Option<i64>, Query, description = "From this position of the ledger on"),
        ("to_position" = Option<i64>, Query, description = "Up to this position of the ledger"),
        ("from" = Option<DateTime<Utc>>, Query, description = "From this moment on (RFC 3339)"),
        ("to" = Option<DateTime<Utc>>, Query, description = "Before this moment (RFC 3339)"),
        ("axis" = Option<String>, Query, description = "What `from` and `to` mean: `effective` (if not given) or `recorded` time"),
        ("as_of" = Option<String>, Query, description = "As known then: a position of the ledger, or a time of recording (RFC 3339)"),
        ("effective_at" = Option<DateTime<Utc>>, Query, description = "Only what had taken effect then, by block time (RFC 3339)"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Rows a page, 100 if not given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before; it keeps the position"),
        ("format" = Option<String>, Query, description = "`json` or `csv`; `Accept: text/csv` does the same"),
    ),
    responses(
        (status = 200, description = "A page of lines", content((List<EntryBody> = "application/json"), (String = "text/csv"))),
        (status = 400, body = ProblemBody<'static>, description = "`invalid_query`: a parameter is unknown or not valid"),
        (status = 401, body = ProblemBody<'static>, description = "`unauthorized`: no valid key"),
        (status = 403, body = ProblemBody<'static>, description = "`merchant_suspended`"),
        (status = 409, body = ProblemBody<'static>, description = "`position_not_reached`"),
    ),
    security(("api_key" = []), ("access_key" = []))
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Reader,
    preferred: Preferred,
    mut query: Query,
) -> Result<Response, Problem> {
    let filter = take_filter(&mut query);
    let (moment, place) = take_moment_and_place(&mut query);
    let limit = take_limit(&mut query);
    let format = preferred.take(&mut query);
    query.finish()?;
    let page = journal::entries(&state.parts.pool, caller.scope(), &filter, moment, place.as_ref(), limit).await?;
    List::of(&page, EntryBody::of).respond(format, "ledger-entries")
}

fn take_filter(query: &mut Query) -> EntryFilter {
    let payment: Option<PaymentId> = query.take("payment", read::id);
    EntryFilter {
        account: query.take("account", read::account),
        merchant: query.take("merchant", read::id),
        asset: query.take("asset", read::asset),
        chain: query.take("blockchain", read::chain),
        aggregate: payment.map(|id| AggregateRef {
            aggregate_type: wopay_domain::payment::AGGREGATE_TYPE.to_owned(),
            aggregate_id: id.to_string(),
        }),
        layer: take_layer(query),
        from_position: query.take("from_position", read::position),
        to_position: query.take("to_position", read::position),
        period: take_period(query),
    }
}
