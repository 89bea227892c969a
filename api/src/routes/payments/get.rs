//! `GET /api/v1/payments/{id}`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::body::{PaymentBody, heights};
use super::own_payment;
use crate::auth::MerchantKey;
use crate::extract::{PaymentPath, Query};
use crate::problem::{Problem, ProblemBody};
use crate::state::AppState;

/// A payment as it stands now.
#[utoipa::path(
    get,
    path = "/api/v1/payments/{id}",
    operation_id = "get_payment",
    tag = "payments",
    params(("id" = uuid::Uuid, Path, description = "The payment")),
    responses(
        (status = 200, body = PaymentBody<'static>, description = "The payment"),
        (status = 401, body = ProblemBody<'static>, description = "`unauthorized`: no valid API key"),
        (status = 403, body = ProblemBody<'static>, description = "`merchant_suspended`"),
        (status = 404, body = ProblemBody<'static>, description = "No such payment, or another merchant's"),
    ),
    security(("api_key" = []))
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    caller: MerchantKey,
    PaymentPath(id): PaymentPath,
    query: Query,
) -> Result<Response, Problem> {
    query.finish()?;
    let payment = own_payment(&state, &caller, id).await?;
    let heights = heights(&state, &payment).await?;
    Ok(Json(PaymentBody::of(&state, &payment, &heights)?).into_response())
}
