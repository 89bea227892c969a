//! `GET /api/v1/ledger/accounts`: what accounts hold, as of any moment.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use wopay_domain::MerchantId;
use wopay_projections::journal::{self, AccountFilter, AccountRow};

use super::body::{AssetFields, BalanceFields, TotalFields};
use super::take_limit;
use crate::auth::Reader;
use crate::extract::{Preferred, Query, read, take_moment_and_place};
use crate::list::List;
use crate::problem::{Problem, ProblemBody};
use crate::state::AppState;
use crate::table::{Cell, TableRow, optional};

/// An account in one asset.
#[derive(Serialize, ToSchema)]
#[schema(as = LedgerAccount)]
pub(crate) struct AccountBody {
    /// `custody:<chain>`, `merchant:<id>:payable`, `merchant:<id>:payout`, `suspense`, `platform:fees` or `platform:gas`.
    #[schema(example = "custody:ethereum")]
    account: String,
    /// Whose it is; null for accounts of the installation.
    #[schema(value_type = Option<uuid::Uuid>)]
    merchant_id: Option<MerchantId>,
    #[serde(flatten)]
    asset: AssetFields,
    /// `debit` or `credit`: the side that makes it grow.
    normal_side: &'static str,
    #[serde(flatten)]
    balance: BalanceFields,
    #[serde(flatten)]
    totals: TotalFields,
}

impl TableRow for AccountBody {
    const COLUMNS: &'static [&'static str] = &[
        "account",
        "merchant_id",
        "blockchain",
        "asset",
        "currency",
        "decimals",
        "normal_side",
        "posted",
        "available",
        "pending_in",
        "pending_out",
        "posted_debit",
        "posted_credit",
        "pending_debit",
        "pending_credit",
    ];

    fn cells(&self) -> Vec<Cell<'_>> {
        let mut cells = vec![self.account.as_str().into(), optional(self.merchant_id)];
        cells.extend(self.asset.cells());
        cells.push(self.normal_side.into());
        cells.extend(self.balance.cells());
        cells.extend(self.totals.cells());
        cells
    }
}

impl AccountBody {
    fn of(row: &AccountRow) -> Self {
        let normal = row.account.normal_side();
        Self {
            account: row.account.to_string(),
            merchant_id: row.account.merchant(),
            asset: AssetFields::of(&row.asset),
            normal_side: normal.as_str(),
            balance: BalanceFields::of(&row.asset, normal, &row.balance),
            totals: TotalFields::of(&row.asset, &row.balance),
        }
    }
}

/// What accounts hold, by account and asset.
///
/// A page may hold fewer rows than its limit although another follows.
#[utoipa::path(
    get,
    path = "/api/v1/ledger/accounts",
    operation_id = "list_ledger_accounts",
    tag = "ledger",
    params(
        ("account" = Option<String>, Query, description = "Only this account, such as `custody:bsc`"),
        ("merchant" = Option<uuid::Uuid>, Query, description = "Only accounts of this merchant"),
        ("asset" = Option<String>, Query, description = "Only this asset, such as `bsc/native`"),
        ("blockchain" = Option<String>, Query, description = "Only assets on this chain"),
        ("as_of" = Option<String>, Query, description = "As known then: a position of the ledger, or a time of recording (RFC 3339)"),
        ("effective_at" = Option<DateTime<Utc>>, Query, description = "Only what had taken effect then, by block time (RFC 3339)"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Rows a page, 100 if not given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before; it keeps the position"),
        ("format" = Option<String>, Query, description = "`json` or `csv`; `Accept: text/csv` does the same"),
    ),
    responses(
        (status = 200, description = "A page of accounts", content((List<AccountBody> = "application/json"), (String = "text/csv"))),
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
    let filter = AccountFilter {
        account: query.take("account", read::account),
        merchant: query.take("merchant", read::id),
        asset: query.take("asset", read::asset),
        chain: query.take("blockchain", read::chain),
    };
    let (moment, place) = take_moment_and_place(&mut query);
    let limit = take_limit(&mut query);
    let format = preferred.take(&mut query);
    query.finish()?;
    let page = journal::accounts(&state.parts.pool, caller.scope(), &filter, moment, place.as_ref(), limit).await?;
    List::of(&page, AccountBody::of).respond(format, "ledger-accounts")
}
