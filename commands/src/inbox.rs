//! Executes what chain watchers report. A command is acknowledged after its events are committed, so a crash repeats it;
//! the payment, or the unmatched deposit, recognizes a report it knows.
//!
//! Nothing that may be money is dropped for a reason that can pass: what fails is delivered again, later and later. Only
//! what can never be executed (unreadable, no such payment, refused by the rules) is taken out, with an error in the log.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wopay_domain::payment::{DepositReport, PaymentError};
use wopay_domain::{Actor, DepositId, Metadata};
use wopay_eventbus::{Acker, Bus, CommandDelivery, ObserveDeposit, ObserveUnmatchedDeposit};

use crate::error::ExecuteError;
use crate::ledger::Ledger;

/// The work queue's only consumer; replicas share it.
const CONSUMER: &str = "inbox";
const BATCH_MAX: usize = 256;
/// Payments worked on at once; the committer writes their events together.
const CONCURRENCY: usize = 64;
const FIRST_DELAY: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(30);

/// Executes commands of the bus until `token` is cancelled; then finishes what it holds.
pub async fn run(ledger: Ledger, bus: Bus, token: CancellationToken) {
    let mut consumer = bus.command_consumer(CONSUMER);
    while let Some(batch) = token.run_until_cancelled(consumer.next_batch(BATCH_MAX)).await {
        let mut by_aggregate: HashMap<Uuid, Vec<Received>> = HashMap::new();
        for delivery in batch {
            match read(&delivery) {
                Ok(observe) => {
                    let received = Received { observe, attempt: delivery.attempt, acker: delivery.acker };
                    by_aggregate.entry(received.observe.aggregate_id()).or_default().push(received);
                }
                Err(reason) => drop_for_ever(delivery.acker, &reason).await,
            }
        }
        let ledger = &ledger;
        let aggregates = futures::stream::iter(by_aggregate.into_values());
        aggregates.for_each_concurrent(CONCURRENCY, |received| execute_in_order(ledger, received)).await;
    }
}

/// A command that could be read.
struct Received {
    observe: Observe,
    attempt: u64,
    acker: Acker,
}

/// What a watcher reports.
enum Observe {
    /// Of a payment's deposit.
    Payment(ObserveDeposit),
    /// Of money that no payment claims.
    Unmatched(ObserveUnmatchedDeposit),
}

impl Observe {
    fn aggregate_id(&self) -> Uuid {
        match self {
            Self::Payment(observe) => observe.payment_id.as_uuid(),
            Self::Unmatched(observe) => DepositId::of(&observe.report.deposit).as_uuid(),
        }
    }
}

fn read(delivery: &CommandDelivery) -> Result<Observe, String> {
    let read = match delivery.kind.as_str() {
        ObserveDeposit::KIND => ObserveDeposit::from_body(&delivery.body).map(Observe::Payment),
        ObserveUnmatchedDeposit::KIND => ObserveUnmatchedDeposit::from_body(&delivery.body).map(Observe::Unmatched),
        unknown => return Err(format!("unknown kind of command {unknown:?}")),
    };
    read.map_err(|error| format!("unreadable command: {error}"))
}

/// The commands of one aggregate, one after the other. When one must wait, the others are still tried: reports carry their
/// order in their revisions.
async fn execute_in_order(ledger: &Ledger, commands: Vec<Received>) {
    for Received { observe, attempt, acker } in commands {
        let outcome = match observe {
            Observe::Payment(observe) => execute(ledger, observe).await,
            Observe::Unmatched(observe) => execute_unmatched(ledger, &observe).await,
        };
        match outcome {
            Outcome::Done => {
                count("done");
                acker.ack().await;
            }
            Outcome::Later => {
                count("later");
                acker.nak(delay(attempt)).await;
            }
            Outcome::Never(reason) => drop_for_ever(acker, &reason).await,
        }
    }
}

/// What becomes of a delivery.
enum Outcome {
    Done,
    Later,
    Never(String),
}

async fn execute(ledger: &Ledger, observe: ObserveDeposit) -> Outcome {
    let payment_id = observe.payment_id;
    let report = observe.report;
    let (command_id, metadata) = cause(&report);
    match ledger.observe_deposit(payment_id, &report, &metadata).await {
        Ok(()) => Outcome::Done,
        Err(ExecuteError::Domain(PaymentError::NotFound)) => {
            Outcome::Never(format!("deposit {command_id} names payment {payment_id}, which does not exist"))
        }
        Err(ExecuteError::Domain(error)) => {
            Outcome::Never(format!("payment {payment_id} refuses deposit {command_id}: {error}"))
        }
        Err(error) if error.is_transient() => {
            tracing::warn!(%payment_id, command_id, error = &error as &dyn std::error::Error, "a deposit must wait");
            Outcome::Later
        }
        Err(error) => {
            tracing::error!(%payment_id, command_id, error = &error as &dyn std::error::Error, "a deposit cannot be recorded");
            Outcome::Later
        }
    }
}

async fn execute_unmatched(ledger: &Ledger, observe: &ObserveUnmatchedDeposit) -> Outcome {
    let (command_id, metadata) = cause(&observe.report);
    match ledger.observe_unmatched(&observe.address, &observe.report, &metadata).await {
        Ok(()) => Outcome::Done,
        Err(error) if error.is_refusal() => {
            Outcome::Never(format!("unmatched deposit {command_id} is refused: {}", with_causes(&error)))
        }
        Err(error) if error.is_transient() => {
            tracing::warn!(command_id, error = &error as &dyn std::error::Error, "an unmatched deposit must wait");
            Outcome::Later
        }
        Err(error) => {
            tracing::error!(
                command_id,
                error = &error as &dyn std::error::Error,
                "an unmatched deposit cannot be recorded"
            );
            Outcome::Later
        }
    }
}

/// An error with its causes, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A report's id, and its metadata.
fn cause(report: &DepositReport) -> (String, Metadata) {
    let command_id = format!("{}@{}", report.deposit, report.revision);
    let metadata = Metadata {
        actor: Actor::System(format!("watchers/{}", report.deposit.chain)),
        request_id: None,
        command_id: Some(command_id.clone()),
    };
    (command_id, metadata)
}

async fn drop_for_ever(acker: Acker, reason: &str) {
    tracing::error!(reason, "dropped a command");
    count("dropped");
    acker.term(reason).await;
}

fn count(outcome: &'static str) {
    metrics::counter!("wopay_commands_inbox_total", "outcome" => outcome).increment(1);
}

/// Doubles with every delivery.
fn delay(attempt: u64) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_DELAY.saturating_mul(2_u32.saturating_pow(doublings)).min(DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_half_a_minute() {
        let delays: Vec<_> = [1, 2, 3, 9, 10, u64::MAX].into_iter().map(delay).collect();
        let millis = [100, 200, 400, 25_600, 30_000, 30_000].map(Duration::from_millis);
        assert_eq!(delays, millis);
    }
}
