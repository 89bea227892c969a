//! Two payments and a deposit that one gives to the other: whatever the chain does, in whatever order it is heard of, and
//! wherever a process dies between their two streams, the books end as the last report and the decision say.

use proptest::prelude::*;

use super::fixture::{DEADLINE, Scenario, at, create, deposit, opened, other_payment, told, usdt};
use crate::Timestamp;
use crate::envelope::LedgerEvent;
use crate::ledger::{Account, Layer, Side, effective_at, postings};
use crate::money::AssetId;
use crate::payment::{
    AssignDeposit, DepositDecision, DepositReport, DepositStage, Holder, Payment, PaymentCommand, PaymentError,
    PaymentEvent, PaymentStatus, UnmatchedMoney, decide, evolve,
};

/// The payment that asks for the native coin and holds USDT, and the one that asks for USDT.
struct Two {
    holder: Payment,
    receiver: Payment,
    history: Vec<PaymentEvent>,
}

/// The process died.
struct Crash;

impl Two {
    fn new() -> Self {
        let native = |request: &mut crate::payment::CreatePayment| {
            request.terms.asset.id = AssetId::native(&super::fixture::chain());
            request.terms.amount = crate::money::Money::new(100, request.terms.asset.id.clone());
            request.terms.address = "0xholder".to_owned();
        };
        let receiver = opened(|request| request.payment_id = other_payment()).payment;
        Self { holder: opened(native).payment, receiver, history: Vec::new() }
    }

    fn execute(&mut self, is_holder: bool, command: PaymentCommand) -> Result<(), PaymentError> {
        let payment = if is_holder { &mut self.holder } else { &mut self.receiver };
        for event in decide(payment, command)? {
            evolve(payment, event.clone());
            self.history.push(event);
        }
        Ok(())
    }

    /// As the write side tells the receiver: from what the holder has.
    fn tell(&mut self) {
        let state = self.holder.state().unwrap();
        let (key, known) = state.deposits.first_key_value().unwrap();
        let Some(DepositDecision::Reassigned { reason, at, .. }) = &known.decision else { panic!("not reassigned") };
        let assign = AssignDeposit {
            deposit: key.clone(),
            unmatched: Some(UnmatchedMoney {
                revision: known.revision,
                amount: known.amount.clone(),
                address: state.terms.address.clone(),
                from: known.from.clone(),
                block: known.block.clone(),
                held_by: Some(Holder { payment_id: state.id, merchant_id: state.merchant_id }),
            }),
            reason: reason.clone(),
            at: *at,
        };
        self.execute(false, PaymentCommand::AssignDeposit(Box::new(assign))).unwrap();
    }

    /// Dies after so many appends.
    fn reassign(&mut self, appends: usize) {
        if self.execute(true, deposit(1, 1).reassign(other_payment())).is_ok() && appends > 1 {
            self.tell();
        }
    }

    /// Dies after so many appends.
    fn deliver(&mut self, report: &DepositReport, appends: usize) -> Result<(), Crash> {
        let observe = PaymentCommand::ObserveDeposit(Box::new(report.clone()));
        match self.execute(true, observe.clone()) {
            Ok(()) => return Ok(()),
            Err(PaymentError::DepositReassigned(_)) => {}
            Err(error) => panic!("{error}"),
        }
        if appends == 0 {
            return Err(Crash);
        }
        self.tell();
        if appends == 1 {
            return Err(Crash);
        }
        self.execute(false, observe.clone()).unwrap();
        if appends == 2 {
            return Err(Crash);
        }
        self.execute(true, told(observe, other_payment())).unwrap();
        Ok(())
    }

    fn is_reassigned(&self) -> bool {
        let deposits = &self.holder.state().unwrap().deposits;
        deposits.values().any(|known| matches!(known.decision, Some(DepositDecision::Reassigned { .. })))
    }

    /// Credits less debits of what is posted, after each event; each balances.
    fn balance(&self, account: &Account) -> i128 {
        self.balance_as_of(account, Timestamp::MAX_UTC)
    }

    /// The same of what had taken effect by then.
    fn balance_as_of(&self, account: &Account, moment: Timestamp) -> i128 {
        let mut balance = 0;
        for event in &self.history {
            if effective_at(&LedgerEvent::Payment(event.clone())) > moment {
                continue;
            }
            let mut own = 0;
            for line in postings(&LedgerEvent::Payment(event.clone())) {
                let amount = i128::try_from(line.amount.minor()).unwrap();
                let signed = if line.side == Side::Credit { amount } else { -amount };
                own += signed;
                balance += if &line.account == account && line.layer == Layer::Posted { signed } else { 0 };
            }
            assert_eq!(own, 0, "{} does not balance", event.name());
        }
        balance
    }
}

fn any_report() -> impl Strategy<Value = DepositReport> {
    let stage = prop_oneof![
        1 => Just(DepositStage::Seen { confirmations: 1 }),
        3 => Just(DepositStage::Confirmed { confirmations: 12 }),
        1 => Just(DepositStage::Orphaned),
    ];
    (90_u128..120, 0_u64..3, stage).prop_map(|(amount, block, stage)| {
        let report = deposit(1, amount).in_block(100 + block, 10 + i64::try_from(block).unwrap()).0;
        DepositReport { stage, at: at(11), ..report }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn books_end_as_the_last_report_and_the_decision_say(
        reports in prop::collection::vec(any_report(), 1..8),
        steps in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..4, prop::bool::weighted(0.25)), 0..24),
    ) {
        let reports: Vec<DepositReport> =
            (1..).zip(reports).map(|(revision, report)| DepositReport { revision, ..report }).collect();
        let mut two = Two::new();
        for (which, appends, reassigns) in steps {
            if reassigns {
                two.reassign(appends);
            } else if two.deliver(which.get(&reports), appends).is_err() {
                // It will be delivered again.
            }
            let custody = two.balance(&Account::Custody(super::fixture::chain()));
            let owed = two.balance(&Account::Suspense)
                + two.balance(&Account::MerchantPayable(create().merchant_id));
            prop_assert_eq!(custody + owed, 0);
        }
        let is_reassigned = two.is_reassigned();
        if is_reassigned {
            two.tell();
        }
        let last = reports.last().unwrap();
        prop_assert!(two.deliver(last, 3).is_ok());
        let stands = match last.stage {
            DepositStage::Confirmed { .. } => i128::try_from(last.amount.minor()).unwrap(),
            DepositStage::Seen { .. } | DepositStage::Orphaned => 0,
        };
        let (suspense, payable) = if is_reassigned { (0, stands) } else { (stands, 0) };
        prop_assert_eq!(two.balance(&Account::Custody(super::fixture::chain())), -stands);
        prop_assert_eq!(two.balance(&Account::Suspense), suspense);
        prop_assert_eq!(two.balance(&Account::MerchantPayable(create().merchant_id)), payable);
        // Whatever the chain did later, nothing was owed that was not there, nor taken that was not given.
        for event in &two.history {
            let moment = effective_at(&LedgerEvent::Payment(event.clone()));
            let as_of = |account| two.balance_as_of(&account, moment);
            let custody = as_of(Account::Custody(super::fixture::chain()));
            let (suspense, payable) = (as_of(Account::Suspense), as_of(Account::MerchantPayable(create().merchant_id)));
            prop_assert!(custody <= 0 && suspense >= 0 && payable >= 0, "{custody} {suspense} {payable} as of {moment}");
        }
        let assigned = two.history.iter().filter(|event| event.name() == "DepositAssigned").count();
        prop_assert_eq!(assigned, usize::from(is_reassigned), "exactly once");
        let (holder, receiver) = (two.holder.state().unwrap(), two.receiver.state().unwrap());
        prop_assert_eq!(holder.status, PaymentStatus::Pending);
        let revisions = [holder, receiver].map(|state| state.deposits.values().next().map(|known| known.revision));
        prop_assert_eq!(revisions, [Some(last.revision), is_reassigned.then_some(last.revision)]);
    }
}

#[test]
fn the_receiver_is_reversed_when_its_money_leaves_the_chain() {
    let mut two = Two::new();
    let confirmed = DepositReport { stage: DepositStage::Confirmed { confirmations: 12 }, ..deposit(1, 100).0 };
    assert!(two.deliver(&confirmed, 3).is_ok());
    two.reassign(2);
    Scenario::of(&two.receiver).stands("completed");
    let gone = DepositReport { stage: DepositStage::Orphaned, revision: 2, at: at(DEADLINE), ..confirmed };
    assert!(two.deliver(&gone, 3).is_ok());
    Scenario::of(&two.receiver).stands("reversed");
    let receiver = two.receiver.state().unwrap();
    assert_eq!(receiver.deposits.values().next().unwrap().amount.asset(), &usdt().id);
}
