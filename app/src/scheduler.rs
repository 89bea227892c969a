//! Deadlines, and decisions that were cut off. Reconciles from what the read side shows as due or undone; a payment that is
//! asked twice to expire answers once, and one that is told twice of money that was assigned to it takes it once.

use std::time::Duration;

use chrono::{SubsecRound as _, Utc};
use futures::StreamExt as _;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use wopay_commands::{ExecuteError, Ledger, UnmatchedError};
use wopay_domain::payment::{PaymentCommand, PaymentError};
use wopay_domain::{DepositId, DepositKey, Metadata, PaymentId};
use wopay_projections::deposits::{DepositFilter, DepositState, OddDeposit};
use wopay_projections::{deposits, payments};

/// How late a deadline may be noticed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Payments expired in one look; more are taken in the next.
const DUE_MAX: u16 = 500;

/// How often assignments are looked for whose payment was not told.
const ASSIGNMENTS_EVERY: Duration = Duration::from_secs(5);

/// Assignments completed in one look; more are taken in the next.
const ASSIGNMENTS_MAX: u16 = 100;

/// Commands in flight at one time.
const IN_FLIGHT_MAX: usize = 64;

/// Expires what is due, and completes what was cut off, until the token is cancelled.
pub(crate) async fn run(pool: PgPool, ledger: Ledger, token: CancellationToken) {
    tokio::join!(expire_due(&pool, &ledger, &token), complete_assignments(&pool, &ledger, &token));
}

async fn expire_due(pool: &PgPool, ledger: &Ledger, token: &CancellationToken) {
    let mut timer = tokio::time::interval(LOOK_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while token.run_until_cancelled(timer.tick()).await.is_some() {
        match payments::due_for_expiry(pool, Utc::now(), DUE_MAX).await {
            Ok(due) => {
                let expiries = due.into_iter().map(|id| expire(ledger, id));
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

/// An assignment is two appends, the deposit's (or of the payment that held it) and then the payment's; a process can die
/// between them.
async fn complete_assignments(pool: &PgPool, ledger: &Ledger, token: &CancellationToken) {
    let filter = DepositFilter { states: vec![DepositState::Assigning], ..DepositFilter::default() };
    let mut timer = tokio::time::interval(ASSIGNMENTS_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while token.run_until_cancelled(timer.tick()).await.is_some() {
        match deposits::list(pool, &filter, None, ASSIGNMENTS_MAX).await {
            Ok(undone) => {
                for deposit in undone.items {
                    complete_assignment(ledger, &deposit).await;
                }
            }
            Err(error) => tracing::warn!(error = %error, "cannot look for assignments that were cut off"),
        }
    }
}

async fn complete_assignment(ledger: &Ledger, undone: &OddDeposit) {
    let deposit = undone.deposit.as_str();
    let Ok(key) = deposit.parse::<DepositKey>() else { return };
    let metadata = Metadata::system("scheduler");
    let completed = match (undone.assigned_to, undone.payment_id) {
        (Some(_), Some(holder)) => {
            ledger.complete_reassignment(holder, &key, &metadata).await.map_err(UnmatchedError::from)
        }
        _ => ledger.complete_assignment(DepositId::of(&key), &metadata).await,
    };
    match completed {
        Ok(()) => tracing::info!(deposit, "an assignment is complete"),
        Err(error) => {
            tracing::warn!(deposit, error = &error as &dyn std::error::Error, "cannot complete an assignment yet");
        }
    }
}
