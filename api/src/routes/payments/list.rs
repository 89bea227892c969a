//! `GET /api/v1/payments`: from the projection, so it may be a moment behind; `as_of_position` says by how much.

use std::borrow::Cow;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use wopay_domain::payment::PaymentStatus;
use wopay_domain::{PaymentId, Timestamp};
use wopay_projections::payments::{PaymentFilter, PaymentRow};
use wopay_projections::{Cursor, Page, payments};

use super::body::checkout_url;
use crate::auth::MerchantKey;
use crate::chain_text::{display_address, payment_uri};
use crate::error::{is_out_of_time, no_such_cursor, query_failed};
use crate::extract::{CURSOR_EXPECTED, Query, read};
use crate::problem::{Problem, ProblemBody};
use crate::state::AppState;

const LIMIT_DEFAULT: u16 = 20;
const LIMIT_MAX: u16 = 100;

/// A page of payments.
#[derive(Serialize, ToSchema)]
#[schema(as = PaymentList)]
pub(crate) struct ListBody<'a> {
    /// Newest first.
    data: Vec<ItemBody<'a>>,
    /// Give this as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
    /// Whether there is a next page.
    has_more: bool,
    /// Every event up to this position of the ledger is taken into account, none after it.
    as_of_position: i64,
}

/// A payment in a list: as in `GET /api/v1/payments/{id}`, with its last transaction instead of all of them.
#[derive(Serialize, ToSchema)]
#[schema(as = PaymentListItem)]
struct ItemBody<'a> {
    /// UUID v7.
    #[schema(value_type = uuid::Uuid)]
    id: PaymentId,
    /// The merchant's own name for it.
    order_id: &'a str,
    /// How much is asked for.
    amount: String,
    /// Of what.
    currency: &'a str,
    /// On which chain.
    blockchain: &'a str,
    /// As in a payment.
    status: &'static str,
    /// As in a payment.
    flags: Vec<&'static str>,
    /// Where to pay.
    payment_address: String,
    /// What a wallet opens.
    payment_uri: Option<String>,
    /// The page to send the payer to.
    checkout_url: String,
    /// What has arrived and counts, confirmed or not.
    amount_paid: String,
    /// The part of it that is confirmed.
    amount_confirmed: String,
    /// The part of that which was sent back.
    amount_refunded: String,
    /// As in a payment.
    confirmations: u32,
    /// How many make a deposit final.
    required_confirmations: u32,
    /// The transaction that last changed the status.
    transaction_hash: Option<&'a str>,
    /// Where changes are announced besides the merchant's own webhook URL.
    callback_url: Option<&'a str>,
    /// The deadline.
    #[schema(value_type = DateTime<chrono::Utc>)]
    expires_at: Timestamp,
    /// When it was created.
    #[schema(value_type = DateTime<chrono::Utc>)]
    created_at: Timestamp,
    /// When anything last happened to it.
    #[schema(value_type = DateTime<chrono::Utc>)]
    updated_at: Timestamp,
}

/// The merchant's payments, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/payments",
    operation_id = "list_payments",
    tag = "payments",
    params(
        ("status" = Option<String>, Query, description = "Only those that stand so, such as `completed`"),
        ("currency" = Option<String>, Query, description = "Only those in this currency"),
        ("blockchain" = Option<String>, Query, description = "Only those on this chain"),
        ("order_id" = Option<String>, Query, description = "Only that of this order"),
        ("created_from" = Option<DateTime<chrono::Utc>>, Query, description = "Only those created then or later (RFC 3339)"),
        ("created_to" = Option<DateTime<chrono::Utc>>, Query, description = "Only those created before then (RFC 3339)"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 100, description = "Payments a page, 20 if not given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, body = ListBody<'static>, description = "A page of payments"),
        (status = 400, body = ProblemBody<'static>, description = "`invalid_query`: a parameter is unknown or not valid"),
        (status = 401, body = ProblemBody<'static>, description = "`unauthorized`: no valid API key"),
        (status = 403, body = ProblemBody<'static>, description = "`merchant_suspended`"),
    ),
    security(("api_key" = []))
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: MerchantKey,
    mut query: Query,
) -> Result<Response, Problem> {
    let filter = PaymentFilter {
        status: query.take("status", status),
        currency: query.take("currency", read::text),
        blockchain: query.take("blockchain", read::chain),
        order_id: query.take("order_id", read::text),
        created_from: query.take("created_from", read::time),
        created_to: query.take("created_to", read::time),
    };
    let limit = query.take("limit", read::limit(LIMIT_MAX)).unwrap_or(LIMIT_DEFAULT);
    let cursor = query.take("cursor", read::expected::<Cursor>(CURSOR_EXPECTED));
    query.finish()?;
    let page = payments::list(&state.parts.pool, caller.merchant(), &filter, cursor.as_ref(), limit).await;
    let page: Page<PaymentRow> = page.map_err(|error| refuse(&error))?;
    let body = ListBody {
        data: page.items.iter().map(|row| ItemBody::of(&state, row)).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
        has_more: page.next.is_some(),
        as_of_position: page.as_of_position,
    };
    Ok(Json(body).into_response())
}

/// A forged cursor may name a moment that Postgres does not have.
fn refuse(error: &sqlx::Error) -> Problem {
    if is_out_of_time(error) { no_such_cursor() } else { query_failed(error) }
}

fn status(name: &str) -> Result<PaymentStatus, Cow<'static, str>> {
    PaymentStatus::parse(name).ok_or_else(|| {
        let names = PaymentStatus::ALL.map(PaymentStatus::as_str);
        format!("must be one of: {}", names.join(", ")).into()
    })
}

impl<'a> ItemBody<'a> {
    fn of(state: &AppState, row: &'a PaymentRow) -> Self {
        let payment_address = display_address(&row.payment_address);
        let catalog = state.parts.catalog.current();
        let chain = catalog.get(row.chain.as_str());
        let payment_uri = chain.and_then(|chain| {
            payment_uri(chain.family, chain.chain_id, &row.asset, &row.amount, &payment_address, row.id)
        });
        Self {
            id: row.id,
            order_id: &row.order_id,
            amount: row.asset.format(row.amount.minor()),
            currency: &row.asset.symbol,
            blockchain: row.chain.as_str(),
            status: row.status.as_str(),
            flags: row.flags.names(),
            payment_address,
            payment_uri,
            checkout_url: checkout_url(state, row.id),
            amount_paid: row.asset.format(row.amount_received.minor()),
            amount_confirmed: row.asset.format(row.amount_confirmed.minor()),
            amount_refunded: row.asset.format(row.amount_refunded.minor()),
            confirmations: row.confirmations,
            required_confirmations: row.required_confirmations,
            transaction_hash: row.transaction_hash.as_deref(),
            callback_url: row.callback_url.as_deref(),
            expires_at: row.expires_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
