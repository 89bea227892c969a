//! Deadlines. Reconciles from what is due in the read side; a payment that is asked twice to expire answers once.

use std::time::Duration;

use chrono::{SubsecRound as _, Utc};
use futures::StreamExt as _;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use wopay_commands::{ExecuteError, Ledger};
use wopay_domain::payment::{PaymentCommand, PaymentError};
use wopay_domain::{Metadata, PaymentId};
use wopay_projections::payments;

/// How late a deadline may be noticed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Payments expired in one look; more are taken in the next.
const DUE_MAX: u16 = 500;

/// Commands in flight at one time.
const IN_FLIGHT_MAX: usize = 64;

/// Expires what is due until the token is cancelled.
pub(crate) async fn run(pool: PgPool, ledger: Ledger, token: CancellationToken) {
    let mut timer = tokio::time::interval(LOOK_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while token.run_until_cancelled(timer.tick()).await.is_some() {
        match payments::due_for_expiry(&pool, Utc::now(), DUE_MAX).await {
            Ok(due) => {
                let expiries = due.into_iter().map(|id| expire(&ledger, id));
                futures::stream::iter(expiries).buffer_unordered(IN_FLIGHT_MAX).collect::<()>().await;
            }
            Err(error) => tracing::warn!(error = %error, "cannot look for payments that are due"),
        }
    }
}

async fn expire(ledger: &Ledger, id: PaymentId) {
    let command = PaymentCommand::Expire { at: Utc::now().trunc_subsecs(6) };
    match ledger.execute_payment(id, command, &Metadata::system("scheduler")).await {
        Ok(_) => metrics::counter!("wopay_scheduler_expiries_total").increment(1),
        // The read side was a moment behind, or our clock is behind the one that set the deadline: look again later.
        Err(ExecuteError::Domain(PaymentError::NotYetDue { .. })) => {}
        Err(error) => {
            tracing::warn!(payment = %id, error = &error as &dyn std::error::Error, "cannot expire a payment yet");
        }
    }
}
