//! `GET /api/v1/ledger/statements`: one account in one asset over a period, with opening, running and closing balance.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use wopay_domain::ledger::Account;
use wopay_domain::{AssetId, MerchantId};
use wopay_projections::journal::{self, Statement, StatementRequest};

use super::body::{AssetFields, BalanceFields};
use super::entries::EntryBody;
use super::{take_layer, take_limit, take_period};
use crate::auth::Reader;
use crate::extract::{Format, ListCursor, Preferred, Query, read, take_moment_and_place};
use crate::list::json;
use crate::problem::{Problem, ProblemBody, ProblemCode};
use crate::state::AppState;
use crate::table::{Cell, TableInfo, TableRow, optional, table};

/// A statement: opening plus lines is closing.
#[derive(Serialize, ToSchema)]
#[schema(as = LedgerStatement)]
pub(crate) struct StatementBody {
    /// The account.
    account: String,
    /// Whose it is; null for accounts of the installation.
    #[schema(value_type = Option<uuid::Uuid>)]
    merchant_id: Option<MerchantId>,
    #[serde(flatten)]
    asset: AssetFields,
    /// What it held before the period; the same on each page.
    opening: BalanceFields,
    /// The lines of this page, in the order of the period's axis, each with what the account held after it.
    lines: Vec<EntryBody>,
    /// What it held after the period; the same on each page.
    closing: BalanceFields,
    /// Give this as `cursor`, with the same parameters, for the next page; null on the last. It keeps the moment of the
    /// first page.
    next_cursor: Option<String>,
    /// Whether there is a next page.
    has_more: bool,
    /// Every event up to this position of the ledger is taken into account, none after it.
    as_of_position: i64,
}

/// A line of the table: `opening` on the first page, `line`, `closing` on the last.
struct StatementRow<'a> {
    kind: &'static str,
    statement: &'a StatementBody,
    line: Option<&'a EntryBody>,
    balance: &'a BalanceFields,
}

impl TableRow for StatementRow<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "kind",
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
        let mut cells = vec![self.kind.into()];
        if let Some(line) = self.line {
            cells.extend(line.cells());
            return cells;
        }
        cells.extend(std::iter::repeat_n(Cell::default(), 7));
        cells.extend([self.statement.account.as_str().into(), optional(self.statement.merchant_id)]);
        cells.extend(self.statement.asset.cells());
        cells.extend(std::iter::repeat_n(Cell::default(), 4));
        cells.extend(self.balance.cells());
        cells
    }
}

/// An account's statement.
///
/// The account is `account`, or the payable account of `merchant`, or that of the merchant whose key it is.
#[utoipa::path(
    get,
    path = "/api/v1/ledger/statements",
    operation_id = "get_ledger_statement",
    tag = "ledger",
    params(
        ("asset" = String, Query, description = "The asset, such as `bsc/native`"),
        ("account" = Option<String>, Query, description = "The account, such as `custody:bsc`"),
        ("merchant" = Option<uuid::Uuid>, Query, description = "The merchant whose payable account it is"),
        ("layer" = Option<String>, Query, description = "Only `posted` or only `pending` lines; balances are those of both"),
        ("from" = Option<DateTime<Utc>>, Query, description = "From this moment on (RFC 3339); from the beginning if not given"),
        ("to" = Option<DateTime<Utc>>, Query, description = "Before this moment (RFC 3339)"),
        ("axis" = Option<String>, Query, description = "What `from` and `to` mean, and how lines are ordered: `effective` (if not given) or `recorded` time"),
        ("as_of" = Option<String>, Query, description = "As known then: a position of the ledger, or a time of recording (RFC 3339)"),
        ("effective_at" = Option<DateTime<Utc>>, Query, description = "Only what had taken effect then; not with `axis=recorded`"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Lines a page, 100 if not given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before; it keeps the position"),
        ("format" = Option<String>, Query, description = "`json` or `csv`; `Accept: text/csv` does the same"),
    ),
    responses(
        (status = 200, description = "The statement", content((StatementBody = "application/json"), (String = "text/csv"))),
        (status = 400, body = ProblemBody<'static>, description = "`invalid_query`: a parameter is missing, unknown or not valid"),
        (status = 401, body = ProblemBody<'static>, description = "`unauthorized`: no valid key"),
        (status = 403, body = ProblemBody<'static>, description = "`merchant_suspended`"),
        (status = 404, body = ProblemBody<'static>, description = "`not_found`: the account is not the merchant's"),
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
    let account = take_account(&mut query, caller);
    let asset: Option<AssetId> = query.take_required("asset", read::asset);
    let (period, layer) = (take_period(&mut query), take_layer(&mut query));
    let (as_of, place) = take_moment_and_place(&mut query);
    let limit = take_limit(&mut query);
    let format = preferred.take(&mut query);
    let (account, asset) = query.finish_with(account.zip(asset))?;
    if let Reader::Merchant(merchant) = caller
        && account.merchant() != Some(merchant)
    {
        return Err(Problem::new(ProblemCode::NotFound, "There is no such account."));
    }
    let request = StatementRequest { account, asset, period, layer, as_of };
    let statement = journal::statement(&state.parts.pool, &request, place.as_ref(), limit).await?;
    respond(&StatementBody::of(&statement), format, place.is_none())
}

/// The account that is meant.
fn take_account(query: &mut Query, caller: Reader) -> Option<Account> {
    let account: Option<Account> = query.take("account", read::account);
    let merchant: Option<MerchantId> = query.take("merchant", read::id);
    match (account, merchant, caller) {
        (Some(_), Some(_), _) => {
            query.refuse("merchant", "invalid", "must not come with account");
            None
        }
        (Some(account), None, _) => Some(account),
        (None, Some(merchant), _) | (None, None, Reader::Merchant(merchant)) => {
            Some(Account::MerchantPayable(merchant))
        }
        (None, None, Reader::House) => {
            query.refuse_missing("account", "is required, unless merchant is given");
            None
        }
    }
}

fn respond(body: &StatementBody, format: Format, is_first: bool) -> Result<Response, Problem> {
    if format == Format::Json {
        return Ok(json(body));
    }
    let end = |kind, balance| StatementRow { kind, statement: body, line: None, balance };
    let opening = is_first.then(|| end("opening", &body.opening));
    let lines = body.lines.iter().map(|line| StatementRow {
        kind: "line",
        statement: body,
        line: Some(line),
        balance: line.balance(),
    });
    let closing = (!body.has_more).then(|| end("closing", &body.closing));
    let rows: Vec<_> = opening.into_iter().chain(lines).chain(closing).collect();
    let next_cursor = body.next_cursor.as_deref();
    table(&TableInfo { name: "ledger-statement", as_of_position: body.as_of_position, next_cursor }, &rows)
}

impl StatementBody {
    fn of(statement: &Statement) -> Self {
        let (position, asset) = (statement.as_of_position, &statement.asset);
        let normal = statement.account.normal_side();
        Self {
            account: statement.account.to_string(),
            merchant_id: statement.account.merchant(),
            asset: AssetFields::of(asset),
            opening: BalanceFields::of(asset, normal, &statement.opening),
            lines: statement.lines.iter().map(EntryBody::of).collect(),
            closing: BalanceFields::of(asset, normal, &statement.closing),
            next_cursor: statement.next.map(|place| ListCursor { position, place }.to_string()),
            has_more: statement.next.is_some(),
            as_of_position: position,
        }
    }
}
