//! Who or what caused an event.

use std::collections::BTreeMap;

use serde::Serialize;
use wopay_domain::deposit::UnmatchedDepositEvent;
use wopay_domain::payment::PaymentEvent;
use wopay_domain::{BlockRef, DepositKey, LedgerEvent, RecordedEvent};

/// The cause of an event: who, by which request or command, and what on which chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// `merchant:<id>/key:<id>`, `operator` or `system:<role>`, as kept with the event.
    pub actor: String,
    /// The HTTP request, when there was one.
    pub request_id: Option<String>,
    /// The command.
    pub command_id: Option<String>,
    /// The deposit that it is about.
    pub deposit: Option<DepositKey>,
    /// The watcher's revision that reported it, or that was known when an operator decided.
    pub revision: Option<u64>,
    /// The block that holds, or held, the deposit.
    pub block: Option<BlockRef>,
    /// The transaction that caused a change of status.
    pub transaction: Option<String>,
}

impl Cause {
    /// The cause of an event, from its metadata and from what it says itself.
    pub(super) fn of(recorded: &RecordedEvent, event: &LedgerEvent) -> Self {
        // Metadata that is no flat map of texts names no cause; the event is shown all the same.
        let metadata: BTreeMap<String, String> = recorded.metadata.read().unwrap_or_default();
        let deposit = match event {
            LedgerEvent::Payment(PaymentEvent::DepositDetected(it)) => Some((&it.deposit, it.revision)),
            LedgerEvent::Payment(PaymentEvent::DepositReincluded(it)) => Some((&it.deposit, it.revision)),
            LedgerEvent::Payment(PaymentEvent::DepositConfirmed(it)) => Some((&it.deposit, it.revision)),
            LedgerEvent::Payment(PaymentEvent::DepositOrphaned(it)) => Some((&it.deposit, it.revision)),
            LedgerEvent::Payment(PaymentEvent::DepositAssigned(it)) => Some((&it.deposit, it.revision)),
            LedgerEvent::Payment(PaymentEvent::HeldDepositReassigned(it)) => Some((&it.deposit, it.revision)),
            LedgerEvent::Payment(PaymentEvent::ReassignedDepositReported(it)) => Some((&it.deposit, it.revision)),
            LedgerEvent::Payment(PaymentEvent::HeldDepositRefunded(it)) => Some((&it.deposit, it.revision)),
            LedgerEvent::Deposit(it) => Some((it.deposit(), it.revision())),
            _ => None,
        };
        let block = match event {
            LedgerEvent::Payment(PaymentEvent::DepositDetected(it)) => Some(&it.block),
            LedgerEvent::Payment(PaymentEvent::DepositReincluded(it)) => Some(&it.block),
            LedgerEvent::Payment(PaymentEvent::DepositConfirmed(it)) => Some(&it.block),
            LedgerEvent::Payment(PaymentEvent::DepositOrphaned(it)) => Some(&it.block),
            LedgerEvent::Payment(PaymentEvent::DepositAssigned(it)) => Some(&it.block),
            LedgerEvent::Payment(PaymentEvent::ReassignedDepositReported(it)) => Some(&it.block),
            LedgerEvent::Deposit(it) => it.block(),
            _ => None,
        };
        let transaction = match event {
            LedgerEvent::Payment(PaymentEvent::RefundCompleted(refund)) => Some(refund.transaction.clone()),
            LedgerEvent::Payment(PaymentEvent::HeldDepositRefunded(refund)) => Some(refund.transaction.clone()),
            LedgerEvent::Payment(event) => event.standing().and_then(|standing| standing.transaction_hash.clone()),
            LedgerEvent::Deposit(UnmatchedDepositEvent::UnmatchedDepositRefunded(refund)) => {
                Some(refund.transaction.clone())
            }
            LedgerEvent::Merchant(_) | LedgerEvent::Access(_) | LedgerEvent::Chain(_) | LedgerEvent::Deposit(_) => None,
        };
        let text = |key: &str| metadata.get(key).cloned();
        Self {
            actor: text("actor").unwrap_or_else(|| "unknown".to_owned()),
            request_id: text("request_id"),
            command_id: text("command_id"),
            deposit: deposit.map(|(key, _)| key.clone()),
            revision: deposit.map(|(_, revision)| revision),
            block: block.cloned(),
            transaction,
        }
    }

    /// Who, in words.
    #[must_use]
    pub fn actor_in_words(&self) -> String {
        match self.actor.split_once(':') {
            Some(("system", "scheduler")) => "the scheduler".to_owned(),
            Some(("system", role)) => match role.split_once('/') {
                Some(("watchers", chain)) => format!("the watcher of {chain}"),
                _ => format!("the system ({role})"),
            },
            Some(("merchant", rest)) => match rest.split_once("/key:") {
                Some((_, key)) => format!("the merchant, with API key {key}"),
                None => "the merchant".to_owned(),
            },
            _ if self.actor == "operator" => "an operator at the command line".to_owned(),
            _ => self.actor.clone(),
        }
    }
}
