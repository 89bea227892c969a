//! `GET /api/v1/ledger/trial-balance`: all accounts together. For the house: a merchant's accounts alone do not balance.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use wopay_projections::journal::{self, AssetInfo, Balance, TrialBalance};

use super::body::{AssetFields, TotalFields};
use crate::auth::HouseKey;
use crate::extract::{Preferred, Query, take_moment};
use crate::list::List;
use crate::problem::{Problem, ProblemBody};
use crate::state::AppState;
use crate::table::{Cell, TableRow};

/// A line of the trial balance.
#[derive(Serialize, ToSchema)]
#[schema(as = TrialBalanceLine)]
pub(crate) struct TrialBalanceBody {
    /// `line`: accounts; `total`: the sum of the asset's lines, where debits equal credits or the books are wrong.
    kind: &'static str,
    #[serde(flatten)]
    asset: AssetFields,
    /// The account's name; `merchant:*:payable` is that of all merchants. Empty in a total.
    accounts: String,
    #[serde(flatten)]
    totals: TotalFields,
    /// In a total: whether debits equal credits, posted and pending. Null in a line.
    balanced: Option<bool>,
}

impl TableRow for TrialBalanceBody {
    const COLUMNS: &'static [&'static str] = &[
        "kind",
        "blockchain",
        "asset",
        "currency",
        "decimals",
        "accounts",
        "posted_debit",
        "posted_credit",
        "pending_debit",
        "pending_credit",
        "balanced",
    ];

    fn cells(&self) -> Vec<Cell<'_>> {
        let mut cells = vec![self.kind.into()];
        cells.extend(self.asset.cells());
        cells.push(self.accounts.as_str().into());
        cells.extend(self.totals.cells());
        cells.push(self.balanced.map_or("", |balanced| if balanced { "true" } else { "false" }).into());
        cells
    }
}

impl TrialBalanceBody {
    /// The lines of one asset and their total.
    fn of(books: &TrialBalance) -> Vec<Self> {
        let row = |kind, accounts: &str, balance: &Balance, asset: &AssetInfo, balanced| Self {
            kind,
            asset: AssetFields::of(asset),
            accounts: accounts.to_owned(),
            totals: TotalFields::of(asset, balance),
            balanced,
        };
        let lines = books.lines.iter().map(|line| row("line", &line.accounts, &line.balance, &books.asset, None));
        let total = row("total", "", &books.total, &books.asset, Some(books.is_balanced()));
        lines.chain([total]).collect()
    }
}

/// The trial balance of the whole ledger: by asset, then by account, then the asset's total.
#[utoipa::path(
    get,
    path = "/api/v1/ledger/trial-balance",
    operation_id = "get_trial_balance",
    tag = "ledger",
    params(
        ("as_of" = Option<String>, Query, description = "As known then: a position of the ledger, or a time of recording (RFC 3339)"),
        ("effective_at" = Option<DateTime<Utc>>, Query, description = "Only what had taken effect then, by block time (RFC 3339)"),
        ("format" = Option<String>, Query, description = "`json` or `csv`; `Accept: text/csv` does the same"),
    ),
    responses(
        (status = 200, description = "The trial balance", content((List<TrialBalanceBody> = "application/json"), (String = "text/csv"))),
        (status = 400, body = ProblemBody<'static>, description = "`invalid_query`: a parameter is unknown or not valid"),
        (status = 401, body = ProblemBody<'static>, description = "`unauthorized`: no valid key"),
        (status = 403, body = ProblemBody<'static>, description = "`forbidden`: not with a merchant's key"),
        (status = 409, body = ProblemBody<'static>, description = "`position_not_reached`"),
    ),
    security(("access_key" = []))
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    _: HouseKey,
    preferred: Preferred,
    mut query: Query,
) -> Result<Response, Problem> {
    let moment = take_moment(&mut query);
    let format = preferred.take(&mut query);
    query.finish()?;
    let answer = journal::trial_balance(&state.parts.pool, moment).await?;
    let rows = answer.value.iter().flat_map(TrialBalanceBody::of).collect();
    List::whole(rows, answer.as_of_position).respond(format, "trial-balance")
}
