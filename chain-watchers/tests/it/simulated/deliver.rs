//! Reports on their way from the outbox to the payments.

use serde::Deserialize;
use wopay_domain::DepositId;
use wopay_domain::deposit::{self, ObserveUnmatched, UnmatchedDepositCommand};
use wopay_domain::payment::{DepositReport, PaymentCommand, decide, evolve};
use wopay_eventbus::commands::{ObserveDeposit, ObserveUnmatchedDeposit};

use super::store;
use super::world::World;

/// What a report says, to whom.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Told {
    OfPayment(ObserveDeposit),
    Unmatched(ObserveUnmatchedDeposit),
}

impl Told {
    const fn report(&self) -> &DepositReport {
        match self {
            Self::OfPayment(command) => &command.report,
            Self::Unmatched(command) => &command.report,
        }
    }
}

impl World {
    /// Executes the reports that wait, in any order, some twice; then they are deleted, unless the publisher dies before.
    pub(super) async fn deliver(&mut self) -> usize {
        let rows = store::reports(&self.pool, &self.plan, self.reports_after).await;
        let mut ids: Vec<i64> = rows.iter().map(|(id, _)| *id).collect();
        let mut told: Vec<Told> = rows.iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect();
        // In what order one statement's rows come is not the seed's to say.
        told.sort_by_cached_key(|told| {
            let DepositReport { deposit, block, stage, .. } = told.report();
            (deposit.to_string(), block.hash.clone(), format!("{stage:?}"))
        });
        if self.random.chance(20) {
            told.extend_from_within(..);
        }
        self.random.shuffle(&mut told);
        if self.random.chance(20) {
            told.truncate(self.random.index(told.len() + 1));
            ids.clear();
        }
        for told in told {
            let DepositReport { deposit, block, stage, .. } = told.report();
            self.note(|_| format!("delivered: {deposit} {stage:?} in {} {}", block.number, block.hash));
            match told {
                Told::OfPayment(command) => self.execute(command),
                Told::Unmatched(command) => self.execute_unmatched(command),
            }
        }
        if !ids.is_empty() {
            store::delete_reports(&self.pool, &ids).await;
        }
        rows.len()
    }

    fn execute_unmatched(&mut self, command: ObserveUnmatchedDeposit) {
        let known = self.unmatched.entry(DepositId::of(&command.report.deposit)).or_default();
        let observe = ObserveUnmatched { address: command.address, report: command.report, told: None };
        for event in deposit::decide(known, UnmatchedDepositCommand::Observe(Box::new(observe))).unwrap() {
            deposit::evolve(known, event);
        }
    }

    fn execute(&mut self, command: ObserveDeposit) {
        self.credit(&command);
        let payer = self.payers.iter_mut().find(|payer| payer.id == command.payment_id).unwrap();
        let report = PaymentCommand::ObserveDeposit(Box::new(command.report));
        for event in decide(&payer.payment, report).unwrap() {
            evolve(&mut payer.payment, event);
        }
    }
}
