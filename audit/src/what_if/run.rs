//! One payment's facts, decided again under other terms.
//!
//! The rules are the domain's own `decide` and `evolve`. What is added here is only what the world around a payment
//! would have done differently: a watcher confirms at another depth, the scheduler expires at another deadline, or because
//! another status lets it.

use std::collections::BTreeMap;

use wopay_domain::payment::{
    CreatePayment, DepositReport, DepositStage, Payment, PaymentCommand, PaymentError, PaymentEvent, PaymentState,
    PaymentStatus, decide, evolve,
};
use wopay_domain::{DepositKey, Timestamp};

use super::facts::{Fact, Facts};
use super::heads::{Heads, head};
use super::policy::Overrides;

/// Where the events bound a moment and do not tell it: which end of the bounds is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// As soon as it can have been.
    Earliest,
    /// When it is known to have been; never, if it is not known.
    Latest,
}

/// What a payment would have done.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    pub(super) payment: Payment,
    pub(super) events: Vec<PaymentEvent>,
    /// What the payment would have refused to do, though it did it.
    pub(super) refused: Vec<String>,
    /// Whether a moment that the events only bound came into it: then the other bound may end otherwise.
    pub(super) is_bounded: bool,
}

/// The world in which a payment is decided again.
#[derive(Clone, Copy)]
pub(super) struct World<'a> {
    pub(super) overrides: &'a Overrides,
    pub(super) heads: &'a Heads,
    /// The moment up to which the facts are known.
    pub(super) horizon: Timestamp,
}

/// Decides a payment's facts again.
pub(super) fn run(facts: &Facts, world: World<'_>, bound: Bound) -> Ran {
    let create = &facts.create;
    let terms = world.overrides.apply(&create.terms, create.at);
    let mut runner = Runner {
        world,
        bound,
        required: create.terms.policy.required_confirmations,
        has_other_deadline: terms.expires_at != create.terms.expires_at,
        deadline: terms.expires_at,
        waiting: BTreeMap::new(),
        revision: 0,
        ran: Ran { payment: Payment::default(), events: Vec::new(), refused: Vec::new(), is_bounded: false },
    };
    runner.tell(PaymentCommand::Create(Box::new(CreatePayment { terms, ..create.clone() })));
    let mut status_recorded = PaymentStatus::Pending;
    let mut now = create.at;
    for (fact, next) in facts.told.iter().zip(1..) {
        runner.pass_time(now, fact.at, status_recorded);
        runner.take(fact, facts.told.get(next..).unwrap_or_default());
        status_recorded = fact.status_after;
        now = now.max(fact.at);
    }
    runner.pass_time(now, world.horizon, status_recorded);
    runner.ran
}

struct Runner<'a> {
    world: World<'a>,
    bound: Bound,
    /// Confirmations by the policy that the payment froze.
    required: u32,
    deadline: Timestamp,
    has_other_deadline: bool,
    /// Deposits that stand in a block and will be confirmed at a moment that is not the recorded one.
    waiting: BTreeMap<DepositKey, Waiting>,
    /// Facts are in the order in which they were accepted, so numbering them anew keeps every revision's meaning.
    revision: u64,
    ran: Ran,
}

struct Waiting {
    report: DepositReport,
    confirmations: u32,
    /// `None`: not up to the horizon, as far as is known.
    due: Option<Timestamp>,
}

impl Runner<'_> {
    /// What would have happened by itself between two facts.
    fn pass_time(&mut self, from: Timestamp, to: Timestamp, status_recorded: PaymentStatus) {
        self.confirm_due(to);
        let scheduler_acts = self.has_other_deadline || !awaits_payment(status_recorded);
        if to > self.deadline && scheduler_acts && self.state().is_some_and(|state| awaits_payment(state.status)) {
            self.tell(PaymentCommand::Expire { at: self.deadline.max(from) });
        }
    }

    /// Confirms the deposits that became deep enough before `to`.
    fn confirm_due(&mut self, to: Timestamp) {
        let mut due: Vec<(Timestamp, DepositKey)> = self
            .waiting
            .iter()
            .filter_map(|(key, waiting)| Some((waiting.due.filter(|due| *due < to)?, key.clone())))
            .collect();
        due.sort();
        for (at, key) in due {
            if let Some(Waiting { report, confirmations, .. }) = self.waiting.remove(&key) {
                let stage = DepositStage::Confirmed { confirmations };
                self.tell(PaymentCommand::ObserveDeposit(Box::new(DepositReport { stage, at, ..report })));
            }
        }
    }

    fn take(&mut self, fact: &Fact, later: &[Fact]) {
        match &fact.command {
            PaymentCommand::ObserveDeposit(report) => self.observe(report, later),
            // The scheduler keeps to the deadline there is.
            PaymentCommand::Expire { .. } if self.has_other_deadline => {}
            command => self.tell(command.clone()),
        }
    }

    fn observe(&mut self, report: &DepositReport, later: &[Fact]) {
        let wanted = self.world.overrides.confirmations.get(&report.deposit.chain).copied();
        let Some(wanted) = wanted.filter(|wanted| *wanted != self.required_on(report)) else {
            return self.tell(PaymentCommand::ObserveDeposit(Box::new(report.clone())));
        };
        self.observe_at_depth(report, later, wanted.max(1));
    }

    /// The policy that the payment froze is that of its own chain; on another chain that chain's setting held, which no
    /// event tells: 0, so that any override differs from it.
    fn required_on(&self, report: &DepositReport) -> u32 {
        let is_own = self.state().is_some_and(|state| state.terms.chain == report.deposit.chain);
        if is_own { self.required } else { 0 }
    }

    /// A report as a watcher that waits for `wanted` confirmations would have made it.
    fn observe_at_depth(&mut self, report: &DepositReport, later: &[Fact], wanted: u32) {
        let (confirmations, was_confirmed) = match report.stage {
            DepositStage::Orphaned => {
                self.waiting.remove(&report.deposit);
                return self.tell(PaymentCommand::ObserveDeposit(Box::new(report.clone())));
            }
            DepositStage::Seen { confirmations } => (confirmations.max(1), false),
            DepositStage::Confirmed { confirmations } => (confirmations.max(1), true),
        };
        let waits = self.waiting.contains_key(&report.deposit);
        let stands = self.stands(report);
        if stands && was_confirmed && !waits {
            // It was confirmed before, and a watcher confirms once.
            return;
        }
        if confirmations >= wanted {
            self.waiting.remove(&report.deposit);
            let stage = DepositStage::Confirmed { confirmations };
            return self.tell(PaymentCommand::ObserveDeposit(Box::new(DepositReport { stage, ..report.clone() })));
        }
        if !(stands && waits) {
            let stage = DepositStage::Seen { confirmations };
            self.tell(PaymentCommand::ObserveDeposit(Box::new(DepositReport { stage, ..report.clone() })));
        }
        let due = self.due(report, self.stands_until(report, later), wanted);
        self.waiting.insert(report.deposit.clone(), Waiting { report: report.clone(), confirmations: wanted, due });
    }

    /// Whether the payment knows this deposit in this block, live.
    fn stands(&self, report: &DepositReport) -> bool {
        let known = self.state().and_then(|state| state.deposits.get(&report.deposit));
        known.is_some_and(|deposit| {
            deposit.is_live() && deposit.block.hash == report.block.hash && deposit.amount == report.amount
        })
    }

    /// When the deposit left its block, as far as is known; the horizon if it did not.
    fn stands_until(&self, report: &DepositReport, later: &[Fact]) -> Timestamp {
        let leaves = |fact: &&Fact| match &fact.command {
            PaymentCommand::ObserveDeposit(next) if next.deposit == report.deposit => {
                next.stage == DepositStage::Orphaned
                    || next.block.hash != report.block.hash
                    || next.amount != report.amount
            }
            _ => false,
        };
        later.iter().find(leaves).map_or(self.world.horizon, |fact| fact.at)
    }

    fn due(&mut self, report: &DepositReport, until: Timestamp, wanted: u32) -> Option<Timestamp> {
        let height = head(report.block.number, wanted);
        let reached = self.world.heads.reached(&report.deposit.chain, height, report.at, until);
        self.ran.is_bounded |= reached.by != Some(reached.not_before);
        match self.bound {
            Bound::Earliest => Some(reached.not_before),
            Bound::Latest => reached.by,
        }
    }

    fn state(&self) -> Option<&PaymentState> {
        self.ran.payment.state()
    }

    fn tell(&mut self, command: PaymentCommand) {
        let what = name(&command);
        let command = match command {
            PaymentCommand::ObserveDeposit(mut report) => {
                self.revision = self.revision.saturating_add(1);
                report.revision = self.revision;
                PaymentCommand::ObserveDeposit(report)
            }
            PaymentCommand::ObserveToldDeposit(mut told) => {
                self.revision = self.revision.saturating_add(1);
                told.report.revision = self.revision;
                PaymentCommand::ObserveToldDeposit(told)
            }
            PaymentCommand::AssignDeposit(mut assign) => {
                if let Some(unmatched) = &mut assign.unmatched {
                    self.revision = self.revision.saturating_add(1);
                    unmatched.revision = self.revision;
                }
                PaymentCommand::AssignDeposit(assign)
            }
            command => command,
        };
        match decide(&self.ran.payment, command) {
            Ok(events) => {
                for event in events {
                    evolve(&mut self.ran.payment, event.clone());
                    self.ran.events.push(event);
                }
            }
            Err(error) => self.ran.refused.push(refusal(what, &error)),
        }
    }
}

/// Whether the scheduler expires a payment of this status at its deadline.
const fn awaits_payment(status: PaymentStatus) -> bool {
    matches!(status, PaymentStatus::Pending | PaymentStatus::PartiallyPaid)
}

fn refusal(what: &str, error: &PaymentError) -> String {
    format!("{what}: {error}")
}

const fn name(command: &PaymentCommand) -> &'static str {
    match command {
        PaymentCommand::Create(_) => "create",
        PaymentCommand::ObserveDeposit(_) => "deposit",
        PaymentCommand::Expire { .. } => "expire",
        PaymentCommand::Cancel { .. } => "cancel",
        PaymentCommand::AssignDeposit(_) => "assign a deposit",
        PaymentCommand::ReassignDeposit(_) => "reassign a deposit",
        PaymentCommand::ObserveToldDeposit(_) => "reassigned deposit",
        PaymentCommand::RefundHeldDeposit(_) => "refund a held deposit",
        PaymentCommand::RequestRefund(_) => "request a refund",
        PaymentCommand::CompleteRefund(_) => "complete a refund",
        PaymentCommand::CancelRefund { .. } => "cancel a refund",
    }
}
