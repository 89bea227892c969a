//! Executes what chain watchers report. A command is acknowledged after its events are committed, so a crash repeats it;
//! the payment recognizes a report it knows.
//!
//! Nothing that may be money is dropped for a reason that can pass: what fails is delivered again, later and later. Only
//! what can never be executed (unreadable, no such payment, refused by the rules) is taken out, with an error in the log.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use wopay_domain::payment::{PaymentCommand, PaymentError};
use wopay_domain::{Actor, Metadata, PaymentId};
use wopay_eventbus::{Acker, Bus, CommandDelivery, ObserveDeposit};

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
        let mut by_payment: HashMap<PaymentId, Vec<Received>> = HashMap::new();
        for delivery in batch {
            match read(&delivery) {
                Ok(observe) => {
                    let received = Received { observe, attempt: delivery.attempt, acker: delivery.acker };
                    by_payment.entry(received.observe.payment_id).or_default().push(received);
                }
                Err(reason) => drop_for_ever(delivery.acker, &reason).await,
            }
        }
        let ledger = &ledger;
        let payments = futures::stream::iter(by_payment.into_values());
        payments.for_each_concurrent(CONCURRENCY, |received| execute_in_order(ledger, received)).await;
    }
}

/// A command that could be read.
struct Received {
    observe: ObserveDeposit,
    attempt: u64,
    acker: Acker,
}

fn read(delivery: &CommandDelivery) -> Result<ObserveDeposit, String> {
    if delivery.kind != ObserveDeposit::KIND {
        return Err(format!("unknown kind of command {:?}", delivery.kind));
    }
    ObserveDeposit::from_body(&delivery.body).map_err(|error| format!("unreadable command: {error}"))
}

/// The commands of one payment, one after the other. When one must wait, the others are still tried: reports carry their
/// order in their revisions.
async fn execute_in_order(ledger: &Ledger, commands: Vec<Received>) {
    for Received { observe, attempt, acker } in commands {
        match execute(ledger, observe).await {
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
    let command_id = format!("{}@{}", report.deposit, report.revision);
    let metadata = Metadata {
        actor: Actor::System(format!("watchers/{}", report.deposit.chain)),
        request_id: None,
        command_id: Some(command_id.clone()),
    };
    let command = PaymentCommand::ObserveDeposit(Box::new(report));
    match ledger.execute_payment(payment_id, command, &metadata).await {
        Ok(_) => Outcome::Done,
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
