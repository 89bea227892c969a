//! `POST /api/v1/payments/{id}/cancel`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use wopay_domain::payment::PaymentCommand;

use super::body::{PaymentBody, heights};
use super::own_payment;
use crate::auth::MerchantKey;
use crate::clock::now;
use crate::extract::{PaymentPath, Query};
use crate::problem::{Problem, ProblemBody};
use crate::state::AppState;

/// Cancels a payment that has received nothing. Cancelling it again changes nothing. A body is not read.
#[utoipa::path(
    post,
    path = "/api/v1/payments/{id}/cancel",
    operation_id = "cancel_payment",
    tag = "payments",
    params(("id" = uuid::Uuid, Path, description = "The payment")),
    responses(
        (status = 200, body = PaymentBody<'static>, description = "The payment, cancelled"),
        (status = 401, body = ProblemBody<'static>, description = "`unauthorized`: no valid API key"),
        (status = 403, body = ProblemBody<'static>, description = "`merchant_suspended`"),
        (status = 404, body = ProblemBody<'static>, description = "No such payment, or another merchant's"),
        (status = 409, body = ProblemBody<'static>, description = "`payment_not_cancellable`: money arrived, or it ended"),
    ),
    security(("api_key" = []))
)]
pub(crate) async fn cancel(
    State(state): State<AppState>,
    caller: MerchantKey,
    PaymentPath(id): PaymentPath,
    query: Query,
) -> Result<Response, Problem> {
    query.finish()?;
    // Whose a payment is never changes, so the check holds for the command that follows.
    own_payment(&state, &caller, id).await?;
    let command = PaymentCommand::Cancel { at: now() };
    let executed = state.parts.ledger.execute_payment(id, command, &caller.metadata()).await?;
    let payment = executed.state;
    let heights = heights(&state, &payment).await?;
    Ok(Json(PaymentBody::of(&state, &payment, &heights)?).into_response())
}
