//! `POST /api/v1/payments`.
//!
//! The way of a new payment reads nothing from the database: the caller comes from a cache, the address from a lease, and
//! whether the order or the idempotency key is taken comes out of the append itself.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use uuid::Uuid;
use wopay_commands::{Created, ExecuteError, IdempotencyClaim};
use wopay_domain::payment::{CreatePayment, PaymentError, PaymentPolicy, PaymentState, PaymentTerms};
use wopay_domain::{Closed, PaymentId};

use super::body::{PaymentBody, heights};
use super::new_payment::{NewPayment, NewPaymentSchema};
use crate::auth::MerchantKey;
use crate::clock::now;
use crate::error::internal;
use crate::extract::{IdempotencyKey, JsonBody, Query};
use crate::problem::{Problem, ProblemBody, ProblemCode};
use crate::state::AppState;

static IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// An address that is taken points at a damaged pool; more than a few in a row are not worth trying.
const ADDRESS_TRIES: usize = 3;

/// A watcher takes a new token before its next look at the chain.
const WATCHED_WITHIN_SECONDS: u16 = 2;

/// Creates a payment. The same order with the same terms again answers with the payment that exists.
#[utoipa::path(
    post,
    path = "/api/v1/payments",
    operation_id = "create_payment",
    tag = "payments",
    params(("Idempotency-Key" = Option<String>, Header, description = "Your own name for this request")),
    request_body = NewPaymentSchema,
    responses(
        (status = 201, body = PaymentBody<'static>, description = "The payment, new",
            headers(("Location" = String, description = "Path of the payment"))),
        (status = 200, body = PaymentBody<'static>, description = "The order exists with the same terms: this is its payment",
            headers(("Idempotent-Replayed" = String, description = "`true`"))),
        (status = 400, body = ProblemBody<'static>, description = "`malformed_json`, `invalid_utf8`"),
        (status = 401, body = ProblemBody<'static>, description = "`unauthorized`: no valid API key"),
        (status = 403, body = ProblemBody<'static>, description = "`merchant_suspended`"),
        (status = 409, body = ProblemBody<'static>, description = "`order_conflict`: the order exists with other terms; `chain_paused`, `currency_paused`: no new payments there at the moment"),
        (status = 413, body = ProblemBody<'static>, description = "`body_too_large`: more than 64 KiB"),
        (status = 415, body = ProblemBody<'static>, description = "`unsupported_media_type`: not JSON"),
        (status = 422, body = ProblemBody<'static>, description = "`invalid_fields`, `idempotency_key_reused`"),
        (status = 503, body = ProblemBody<'static>, description = "`overloaded`, `address_pool_empty`, `timeout`"),
    ),
    security(("api_key" = []))
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    caller: MerchantKey,
    query: Query,
    idempotency: IdempotencyKey,
    JsonBody(json): JsonBody,
) -> Result<Response, Problem> {
    query.finish()?;
    let catalog = state.parts.catalog.current();
    let new = NewPayment::read(&json, &catalog, &state.parts.url_policy)?;
    let claim = idempotency.0.map(|key| IdempotencyClaim { key, request_hash: new.hash() });
    let opened = match catalog.closed(&new.chain.name, &new.asset.id) {
        None => open(&state, &caller, &new, claim).await,
        Some(closed) => repeat(&state, &caller, &new, claim, closed).await,
    };
    match opened {
        Ok(Created::New { payment, .. }) => answer(&state, StatusCode::CREATED, &payment).await,
        Ok(Created::Existing { payment, .. }) => {
            let mut response = answer(&state, StatusCode::OK, &payment).await?;
            response.headers_mut().insert(IDEMPOTENT_REPLAYED.clone(), HeaderValue::from_static("true"));
            Ok(response)
        }
        Err(Refusal::OrderConflict(id)) => Err(order_conflict(&state, &new, id).await),
        Err(Refusal::Problem(problem)) => Err(problem),
    }
}

/// Where nothing new is taken, a repeated request still gets its payment.
async fn repeat(
    state: &AppState,
    caller: &MerchantKey,
    new: &NewPayment<'_>,
    claim: Option<IdempotencyClaim>,
    closed: Closed<'_>,
) -> Result<Created, Refusal> {
    let create = command(caller, new, String::new());
    match state.parts.ledger.existing_payment(&create, claim).await {
        Ok(Some(created)) => Ok(created),
        Ok(None) => Err(refusal(new, closed).into()),
        Err(ExecuteError::OrderConflict { payment_id }) => Err(Refusal::OrderConflict(payment_id)),
        Err(error) => Err(Problem::from(error).into()),
    }
}

fn refusal(new: &NewPayment<'_>, closed: Closed<'_>) -> Problem {
    let (chain, currency) = (&new.chain.name, &new.asset.symbol);
    match closed {
        Closed::Chain(pause) => Problem::new(
            ProblemCode::ChainPaused,
            format!("{chain} is paused: {}.", pause.reason.trim_end_matches('.')),
        ),
        Closed::Asset(pause) => {
            let reason = pause.reason.trim_end_matches('.');
            Problem::new(ProblemCode::CurrencyPaused, format!("{currency} on {chain} is paused: {reason}."))
        }
        Closed::NotWatched => Problem::retry_after(
            ProblemCode::CurrencyPaused,
            format!("{currency} was just added to {chain}, whose watcher does not look for it yet."),
            WATCHED_WITHIN_SECONDS,
        ),
    }
}

/// Appends the payment; with another address if the first one is taken.
async fn open(
    state: &AppState,
    caller: &MerchantKey,
    new: &NewPayment<'_>,
    claim: Option<IdempotencyClaim>,
) -> Result<Created, Refusal> {
    let metadata = caller.metadata();
    let family = new.chain.family;
    let mut tries_left = ADDRESS_TRIES;
    loop {
        tries_left = tries_left.saturating_sub(1);
        let address = state.addresses.take(family).await.map_err(Problem::from)?;
        let create = command(caller, new, address.clone());
        let created = state.parts.ledger.create_payment(create, &metadata, claim.clone()).await;
        if is_unused(&created) {
            state.addresses.give_back(family, address);
        }
        match created {
            Ok(created) => return Ok(created),
            Err(ExecuteError::AddressTaken { address, holder }) if tries_left > 0 => {
                tracing::error!(address, holder, "the pool gave out an address that belongs to a payment");
            }
            Err(ExecuteError::OrderConflict { payment_id }) => return Err(Refusal::OrderConflict(payment_id)),
            Err(error) => return Err(Problem::from(error).into()),
        }
    }
}

/// Whether it is certain that nothing was written with the address: another payment has the order or the key.
fn is_unused(created: &Result<Created, ExecuteError<PaymentError>>) -> bool {
    matches!(
        created,
        Ok(Created::Existing { .. })
            | Err(ExecuteError::OrderConflict { .. } | ExecuteError::IdempotencyMismatch { .. })
    )
}

/// Why no payment was opened.
enum Refusal {
    /// The order is this payment, with other terms.
    OrderConflict(PaymentId),
    /// Anything else.
    Problem(Problem),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

fn command(caller: &MerchantKey, new: &NewPayment<'_>, address: String) -> CreatePayment {
    let at = now();
    let policy = caller.policy();
    CreatePayment {
        payment_id: PaymentId::from_uuid(Uuid::now_v7()),
        merchant_id: caller.merchant(),
        order_id: new.order_id.as_ref().to_owned(),
        terms: PaymentTerms {
            amount: new.amount.clone(),
            asset: new.asset.clone(),
            chain: new.chain.name.clone(),
            address,
            callback_url: new.callback_url.as_deref().map(str::to_owned),
            // A week from now lies in the range of dates.
            expires_at: at.checked_add_signed(new.expires_in).unwrap_or(at),
            policy: PaymentPolicy {
                underpayment_tolerance: policy.underpayment_tolerance,
                required_confirmations: new.chain.required_confirmations,
                late_deposits: policy.late_deposits,
            },
        },
        at,
    }
}

/// Names the fields that differ from the payment that has the order.
async fn order_conflict(state: &AppState, new: &NewPayment<'_>, id: PaymentId) -> Problem {
    match state.parts.ledger.payment(id).await {
        Ok(Some((existing, _))) => {
            let detail = format!("The order_id belongs to payment {id}, which has other terms.");
            Problem::fields(ProblemCode::OrderConflict, detail, new.differences(&existing))
        }
        Ok(None) => Problem::new(ProblemCode::OrderConflict, "The order_id belongs to a payment with other terms."),
        Err(error) => error.into(),
    }
}

async fn answer(state: &AppState, status: StatusCode, payment: &PaymentState) -> Result<Response, Problem> {
    let heights = heights(state, payment).await?;
    let body = PaymentBody::of(state, payment, &heights)?;
    let json = serde_json::to_vec(&body).map_err(|error| internal(&error))?;
    let location =
        HeaderValue::try_from(format!("/api/v1/payments/{}", payment.id)).map_err(|error| internal(&error))?;
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}
