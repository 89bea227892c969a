//! `/api/v1/payments`.

pub(crate) mod body;
pub(crate) mod cancel;
pub(crate) mod confirmations;
pub(crate) mod create;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod new_payment;

use wopay_domain::PaymentId;
use wopay_domain::payment::PaymentState;

use crate::auth::MerchantKey;
use crate::problem::{Problem, ProblemCode};
use crate::state::AppState;

/// The caller's payment of this id, from its own stream: never behind what the caller was told.
async fn own_payment(state: &AppState, caller: &MerchantKey, id: PaymentId) -> Result<PaymentState, Problem> {
    match state.parts.ledger.payment(id).await? {
        Some((payment, _)) if payment.merchant_id == caller.merchant() => Ok(payment),
        // Another merchant's payment is answered like one that does not exist.
        Some(_) | None => Err(Problem::new(ProblemCode::NotFound, "There is no such payment.")),
    }
}
