//! `GET /api/v1/deposits`: money that counts for no payment, for the house.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use wopay_domain::PaymentId;
use wopay_projections::Cursor;
use wopay_projections::deposits::{self, Decision, DepositFilter, DepositState, OddDeposit};
use wopay_projections::journal::AssetInfo;

use super::ledger::body::{AssetFields, shown};
use super::ledger::take_limit;
use crate::auth::HouseKey;
use crate::error::query_failed;
use crate::extract::{Preferred, Query, read};
use crate::list::List;
use crate::problem::{Problem, ProblemBody};
use crate::state::AppState;
use crate::table::{Cell, TableRow, moment, optional};

const STATES: &[(&str, DepositState)] = &[
    ("held", DepositState::Held),
    ("unmatched", DepositState::Unmatched),
    ("dust", DepositState::Dust),
    ("unknown_token", DepositState::UnknownToken),
    ("assigning", DepositState::Assigning),
    ("assigned", DepositState::Assigned),
    ("refunded", DepositState::Refunded),
    ("orphaned", DepositState::Orphaned),
];

/// Money that came to an address of this installation and counts for no payment, or did not until somebody decided.
#[derive(Serialize, ToSchema)]
#[schema(as = OddDeposit)]
pub(crate) struct DepositBody {
    /// What names it: `<chain>:<transaction>:<leg>`.
    #[schema(example = "ethereum:0x5c504ed432cb51138bcf09aa5e8a410dd4a1e204ef84bfed1be16dfba1b22060:log:0")]
    deposit: String,
    /// `held` at a payment (late, cancelled, of another asset); `unmatched`: no payment claims the address; `dust`: less
    /// than counts; `unknown_token`: not configured; `assigning`: decided, and the payment does not have it yet; `assigned`
    /// and `refunded`: decided; `orphaned`: no longer in the chain, whatever was decided.
    #[schema(example = "unmatched")]
    state: &'static str,
    /// Why it is held: `late`, `cancelled` or `wrong_asset`.
    hold_reason: Option<String>,
    /// Whether it is confirmed: only then can it be decided about.
    is_confirmed: bool,
    /// The payment at whose address it is, or to which it was assigned.
    #[schema(value_type = Option<uuid::Uuid>)]
    payment_id: Option<PaymentId>,
    #[serde(flatten)]
    asset: AssetFields,
    /// A decimal string; in minor units when `decimals` is null.
    #[schema(example = "100.500000")]
    amount: String,
    /// The sender, where the chain names one.
    from_address: Option<String>,
    /// The address that received it.
    to_address: String,
    /// Height or slot of its block.
    block_number: Option<i64>,
    /// Time of its block.
    block_time: DateTime<Utc>,
    /// Why it was decided so.
    decision_reason: Option<String>,
    /// The transaction that is said to have sent it back.
    decision_transaction: Option<String>,
    /// When it was decided.
    decided_at: Option<DateTime<Utc>>,
    /// What was decided: `assigned` or `refunded`. It stays when the deposit's block leaves the chain.
    #[schema(value_type = Option<String>)]
    decision: Option<&'static str>,
    /// Of one that `payment_id` held and that is being assigned to another payment: that payment.
    #[schema(value_type = Option<uuid::Uuid>)]
    assigned_to: Option<PaymentId>,
}

impl TableRow for DepositBody {
    const COLUMNS: &'static [&'static str] = &[
        "deposit",
        "state",
        "hold_reason",
        "is_confirmed",
        "payment_id",
        "blockchain",
        "asset",
        "currency",
        "decimals",
        "amount",
        "from_address",
        "to_address",
        "block_number",
        "block_time",
        "decision_reason",
        "decision_transaction",
        "decided_at",
        "decision",
        "assigned_to",
    ];

    fn cells(&self) -> Vec<Cell<'_>> {
        let text = |text: &Option<String>| Cell::from(text.clone().unwrap_or_default());
        let mut cells: Vec<Cell<'_>> = vec![self.deposit.as_str().into(), self.state.into(), text(&self.hold_reason)];
        cells.extend([self.is_confirmed.to_string().into(), optional(self.payment_id)]);
        cells.extend(self.asset.cells());
        cells.extend([self.amount.as_str().into(), text(&self.from_address), self.to_address.as_str().into()]);
        cells.extend([optional(self.block_number), moment(self.block_time)]);
        cells.extend([text(&self.decision_reason), text(&self.decision_transaction)]);
        cells.push(self.decided_at.map_or_else(Cell::default, moment));
        cells.extend([self.decision.unwrap_or_default().into(), optional(self.assigned_to)]);
        cells
    }
}

impl DepositBody {
    fn of(deposit: &OddDeposit) -> Self {
        let asset = AssetInfo { id: deposit.asset.clone(), symbol: deposit.symbol.clone(), decimals: deposit.decimals };
        Self {
            deposit: deposit.deposit.clone(),
            state: deposit.state.as_str(),
            hold_reason: deposit.hold_reason.clone(),
            is_confirmed: deposit.is_confirmed,
            payment_id: deposit.payment_id,
            amount: shown(&asset, deposit.amount),
            asset: AssetFields::of(&asset),
            from_address: deposit.from_address.clone(),
            to_address: deposit.to_address.clone(),
            block_number: deposit.block_number,
            block_time: deposit.block_time,
            decision_reason: deposit.decision_reason.clone(),
            decision_transaction: deposit.decision_transaction.clone(),
            decided_at: deposit.decided_at,
            decision: deposit.decision.map(Decision::as_str),
            assigned_to: deposit.assigned_to,
        }
    }
}

/// Money that counts for no payment, newest block first.
#[utoipa::path(
    get,
    path = "/api/v1/deposits",
    operation_id = "list_odd_deposits",
    tag = "ledger",
    params(
        ("state" = Option<String>, Query, description = "Only `held`, `unmatched`, `dust`, `unknown_token`, `assigning`, `assigned`, `refunded` or `orphaned`"),
        ("asset" = Option<String>, Query, description = "Only this asset, such as `bsc/native`"),
        ("blockchain" = Option<String>, Query, description = "Only on this chain"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Rows a page, 100 if not given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("format" = Option<String>, Query, description = "`json` or `csv`; `Accept: text/csv` does the same"),
    ),
    responses(
        (status = 200, description = "A page of deposits", content((List<DepositBody> = "application/json"), (String = "text/csv"))),
        (status = 400, body = ProblemBody<'static>, description = "`invalid_query`: a parameter is unknown or not valid"),
        (status = 401, body = ProblemBody<'static>, description = "`unauthorized`: no valid key"),
        (status = 403, body = ProblemBody<'static>, description = "`forbidden`: a merchant's key"),
    ),
    security(("access_key" = []))
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    _caller: HouseKey,
    preferred: Preferred,
    mut query: Query,
) -> Result<Response, Problem> {
    let filter = DepositFilter {
        states: query.take("state", read::one_of(STATES)).into_iter().collect(),
        chain: query.take("blockchain", read::chain),
        asset: query.take("asset", read::asset),
    };
    let after: Option<Cursor> = query.take("cursor", read::expected("is not a cursor that this list gave out"));
    let limit = take_limit(&mut query);
    let format = preferred.take(&mut query);
    query.finish()?;
    let page = deposits::list(&state.parts.pool, &filter, after.as_ref(), limit).await;
    let page = page.map_err(|error| query_failed(&error))?;
    List {
        data: page.items.iter().map(DepositBody::of).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
        has_more: page.next.is_some(),
        as_of_position: page.as_of_position,
    }
    .respond(format, "deposits")
}
