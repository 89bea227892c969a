//! `GET /api/v1/balances`: what the books owe the merchant, from the projection.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use wopay_projections::balances::{self, BalanceRow};

use crate::auth::MerchantKey;
use crate::error::query_failed;
use crate::extract::Query;
use crate::problem::{Problem, ProblemBody};
use crate::state::AppState;

/// The merchant's balances.
#[derive(Serialize, ToSchema)]
#[schema(as = BalanceList)]
pub(crate) struct BalancesBody<'a> {
    /// One for each asset in which money was ever booked or is on its way.
    data: Vec<BalanceBody<'a>>,
    /// Every event up to this position of the ledger is taken into account, none after it.
    as_of_position: i64,
}

/// What the merchant has of one asset. The same symbol on two chains is two assets.
#[derive(Serialize, ToSchema)]
#[schema(as = Balance)]
struct BalanceBody<'a> {
    /// Symbol of the asset.
    #[schema(example = "USDT")]
    currency: &'a str,
    /// The chain it lives on.
    #[schema(example = "ethereum")]
    blockchain: &'a str,
    /// `<chain>/native` or `<chain>/<contract>`.
    asset: &'a str,
    /// Booked: confirmed deposits that count, less what was taken back.
    #[schema(example = "100.500000")]
    available: String,
    /// Seen on the chain and not confirmed yet; never part of `available`.
    #[schema(example = "0.000000")]
    pending: String,
}

/// The merchant's balances by asset.
#[utoipa::path(
    get,
    path = "/api/v1/balances",
    operation_id = "list_balances",
    tag = "balances",
    responses(
        (status = 200, body = BalancesBody<'static>, description = "The balances"),
        (status = 400, body = ProblemBody<'static>, description = "`invalid_query`: there are no parameters"),
        (status = 401, body = ProblemBody<'static>, description = "`unauthorized`: no valid API key"),
        (status = 403, body = ProblemBody<'static>, description = "`merchant_suspended`"),
    ),
    security(("api_key" = []))
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: MerchantKey,
    query: Query,
) -> Result<Response, Problem> {
    query.finish()?;
    let answer = balances::of_merchant(&state.parts.pool, caller.merchant()).await;
    let answer = answer.map_err(|error| query_failed(&error))?;
    let data = answer.value.iter().map(BalanceBody::of).collect();
    Ok(Json(BalancesBody { data, as_of_position: answer.as_of_position }).into_response())
}

impl<'a> BalanceBody<'a> {
    fn of(row: &'a BalanceRow) -> Self {
        Self {
            currency: &row.symbol,
            blockchain: row.chain.as_str(),
            asset: row.asset.as_str(),
            available: row.available.format(row.decimals),
            pending: row.pending.format(row.decimals),
        }
    }
}
