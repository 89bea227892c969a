//! `GET /api/v1/payments`: from the projection, so it may be a moment behind; `as_of_position` says by how much.

use std::borrow::Cow;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::DateTime;
use serde::Serialize;
use utoipa::ToSchema;
use wopay_domain::payment::PaymentStatus;
use wopay_domain::{ChainName, PaymentId, Timestamp};
use wopay_projections::payments::{PaymentFilter, PaymentRow};
use wopay_projections::{Cursor, Page, payments};

use super::body::checkout_url;
use crate::auth::MerchantKey;
use crate::chain_text::{display_address, payment_uri};
use crate::error::query_failed;
use crate::extract::Query;
use crate::problem::{FieldError, Problem, ProblemBody, ProblemCode};
use crate::state::AppState;

const LIMIT_DEFAULT: u16 = 20;
const LIMIT_MAX: u16 = 100;
const TEXT_CHARS_MAX: usize = 255;
const CURSOR_EXPECTED: &str = "must be the next_cursor of a list";
/// SQLSTATE `datetime_field_overflow`.
const TIME_OUT_OF_RANGE: &str = "22008";

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
        currency: query.take("currency", text),
        blockchain: query
            .take("blockchain", |name| name.parse::<ChainName>().map_err(|_| Cow::from("must be the name of a chain"))),
        order_id: query.take("order_id", text),
        created_from: query.take("created_from", time),
        created_to: query.take("created_to", time),
    };
    let limit = query.take("limit", limit).unwrap_or(LIMIT_DEFAULT);
    let cursor = query.take("cursor", |text| text.parse::<Cursor>().map_err(|_| Cow::from(CURSOR_EXPECTED)));
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

/// A forged cursor may name a moment that Postgres does not have; that is the caller's fault, any other failure is not.
fn refuse(error: &sqlx::Error) -> Problem {
    let code = error.as_database_error().and_then(|error| error.code());
    if code.as_deref() != Some(TIME_OUT_OF_RANGE) {
        return query_failed(error);
    }
    let errors = vec![FieldError::new("cursor", "invalid", CURSOR_EXPECTED)];
    Problem::fields(ProblemCode::InvalidQuery, "Some query parameters are not valid.", errors)
}

fn status(name: &str) -> Result<PaymentStatus, Cow<'static, str>> {
    PaymentStatus::parse(name).ok_or_else(|| {
        let names = PaymentStatus::ALL.map(PaymentStatus::as_str);
        format!("must be one of: {}", names.join(", ")).into()
    })
}

/// Text that may be asked for: Postgres has no NUL, and longer ones nothing has.
fn text(text: &str) -> Result<String, Cow<'static, str>> {
    let sized = (1..=TEXT_CHARS_MAX).contains(&text.chars().count());
    if sized && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err("must have 1 to 255 printable characters".into())
    }
}

fn time(text: &str) -> Result<Timestamp, Cow<'static, str>> {
    let time = DateTime::parse_from_rfc3339(text);
    time.map(|time| time.to_utc()).map_err(|_| "must be a time such as 2026-01-31T12:00:00Z (RFC 3339)".into())
}

fn limit(text: &str) -> Result<u16, Cow<'static, str>> {
    let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| "must be a whole number from 1 to 100".into())
}

impl<'a> ItemBody<'a> {
    fn of(state: &AppState, row: &'a PaymentRow) -> Self {
        let payment_address = display_address(&row.payment_address);
        let chain = state.parts.catalog.get(row.chain.as_str());
        let payment_uri = chain
            .and_then(|chain| payment_uri(chain.family, chain.chain_id, &row.asset, &row.amount, &payment_address));
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
