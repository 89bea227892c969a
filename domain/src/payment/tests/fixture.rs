//! Words for the rulebook.

use chrono::{DateTime, TimeDelta, Utc};

use crate::chain::{BlockRef, ChainName, DepositKey, DepositLeg};
use crate::ids::{MerchantId, PaymentId, RefundId};
use crate::money::{Asset, AssetId, Money, Percentage};
use crate::payment::{
    AssignDeposit, CompleteRefund, CreatePayment, DepositReport, DepositStage, Holder, LateDeposits, Payment,
    PaymentCommand, PaymentError, PaymentEvent, PaymentPolicy, PaymentTerms, ReassignDeposit, RefundHeldDeposit,
    RequestRefund, ToldDeposit, UnmatchedMoney, decide, evolve,
};

pub(super) fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap() + TimeDelta::seconds(second)
}

/// The deadline of every payment here, in seconds of [`at`].
pub(super) const DEADLINE: i64 = 3600;

pub(super) fn chain() -> ChainName {
    "ethereum".parse().unwrap()
}

pub(super) fn usdt() -> Asset {
    let id = AssetId::token(&chain(), "0xdac17f958d2ee523a2206206994597c13d831ec7").unwrap();
    Asset { id, symbol: "USDT".to_owned(), decimals: 6 }
}

pub(super) fn create() -> CreatePayment {
    CreatePayment {
        payment_id: PaymentId::from_uuid(uuid::Uuid::from_u128(1)),
        merchant_id: MerchantId::from_uuid(uuid::Uuid::from_u128(2)),
        order_id: "ORDER-1".to_owned(),
        terms: PaymentTerms {
            amount: Money::new(100, usdt().id),
            asset: usdt(),
            chain: chain(),
            address: "0x00000000000000000000000000000000000000aa".to_owned(),
            callback_url: None,
            expires_at: at(DEADLINE),
            policy: PaymentPolicy {
                underpayment_tolerance: Percentage::ZERO,
                required_confirmations: 12,
                late_deposits: LateDeposits::Accept,
            },
        },
        at: at(0),
    }
}

/// A payment of 100, with a changed request.
pub(super) fn opened(change: impl FnOnce(&mut CreatePayment)) -> Scenario {
    let mut request = create();
    change(&mut request);
    Scenario::default().when(PaymentCommand::Create(Box::new(request)))
}

pub(super) fn hold_late(request: &mut CreatePayment) {
    request.terms.policy.late_deposits = LateDeposits::Hold;
}

pub(super) fn tolerate(percent: i64) -> impl FnOnce(&mut CreatePayment) {
    move |request| {
        request.terms.policy.underpayment_tolerance =
            Percentage::try_from(rust_decimal::Decimal::from(percent)).unwrap();
    }
}

/// A report of deposit number `deposit`, in a block before the deadline.
#[derive(Clone)]
pub(super) struct Report(pub(super) DepositReport);

pub(super) fn deposit(number: u32, amount: u128) -> Report {
    Report(DepositReport {
        deposit: DepositKey { chain: chain(), transaction: format!("0x{number:064x}"), leg: DepositLeg::Log(0) },
        revision: 1,
        amount: Money::new(amount, usdt().id),
        from: Some("0x00000000000000000000000000000000000000bb".to_owned()),
        block: block(100, 10),
        stage: DepositStage::Seen { confirmations: 1 },
        at: at(11),
    })
}

pub(super) fn block(number: u64, second: i64) -> BlockRef {
    BlockRef { number, hash: format!("0x{number:064x}"), time: at(second) }
}

impl Report {
    pub(super) fn revision(mut self, revision: u64) -> Self {
        self.0.revision = revision;
        self
    }

    pub(super) fn in_block(mut self, number: u64, second: i64) -> Self {
        self.0.block = block(number, second);
        self
    }

    pub(super) fn late(self) -> Self {
        self.in_block(5000, DEADLINE + 1)
    }

    pub(super) fn of_asset(mut self, asset: AssetId) -> Self {
        self.0.amount = Money::new(self.0.amount.minor(), asset);
        self
    }

    pub(super) fn seen(mut self) -> PaymentCommand {
        self.0.stage = DepositStage::Seen { confirmations: 1 };
        PaymentCommand::ObserveDeposit(Box::new(self.0))
    }

    pub(super) fn confirmed(mut self) -> PaymentCommand {
        self.0.stage = DepositStage::Confirmed { confirmations: 12 };
        PaymentCommand::ObserveDeposit(Box::new(self.0))
    }

    pub(super) fn orphaned(mut self) -> PaymentCommand {
        self.0.stage = DepositStage::Orphaned;
        PaymentCommand::ObserveDeposit(Box::new(self.0))
    }
}

pub(super) fn refund_id(number: u8) -> RefundId {
    RefundId::from_uuid(uuid::Uuid::from_u128(0xf000 + u128::from(number)))
}

/// A request for refund number `number`, changed.
pub(super) fn refund(number: u8, amount: u128, change: impl FnOnce(&mut RequestRefund)) -> PaymentCommand {
    let mut request = RequestRefund {
        refund_id: refund_id(number),
        amount: Money::new(amount, usdt().id),
        to: "0x00000000000000000000000000000000000000cc".to_owned(),
        reason: "the goods came back".to_owned(),
        at: at(DEADLINE + 100),
    };
    change(&mut request);
    PaymentCommand::RequestRefund(Box::new(request))
}

pub(super) fn request_refund(number: u8, amount: u128) -> PaymentCommand {
    refund(number, amount, |_| {})
}

pub(super) fn complete_refund(number: u8) -> PaymentCommand {
    PaymentCommand::CompleteRefund(Box::new(CompleteRefund {
        refund_id: refund_id(number),
        transaction: format!("0xrefund{number}"),
        network_fee: Some(Money::new(7, AssetId::native(&chain()))),
        at: at(DEADLINE + 200),
    }))
}

pub(super) fn cancel_refund(number: u8) -> PaymentCommand {
    let (refund_id, reason) = (refund_id(number), "asked for by mistake".to_owned());
    PaymentCommand::CancelRefund { refund_id, reason, at: at(DEADLINE + 300) }
}

impl Report {
    /// An operator gives it to the payment, which holds it.
    pub(super) fn assign(self) -> PaymentCommand {
        let (reason, at) = ("the payer was late by a minute".to_owned(), at(DEADLINE + 400));
        PaymentCommand::AssignDeposit(Box::new(AssignDeposit { deposit: self.0.deposit, unmatched: None, reason, at }))
    }

    /// An operator gives it to the payment, which may never have seen it.
    pub(super) fn assign_unmatched(self) -> PaymentCommand {
        let Self(report) = self;
        PaymentCommand::AssignDeposit(Box::new(AssignDeposit {
            deposit: report.deposit,
            unmatched: Some(UnmatchedMoney {
                revision: report.revision,
                amount: report.amount,
                address: "0xolder".to_owned(),
                from: report.from,
                block: report.block,
                held_by: None,
            }),
            reason: "sent to an address of an older wallet".to_owned(),
            at: at(DEADLINE + 500),
        }))
    }

    /// An operator gives it to the payment, after another payment held it.
    pub(super) fn assign_held_by(self, holder: Holder) -> PaymentCommand {
        let PaymentCommand::AssignDeposit(mut assign) = self.assign_unmatched() else { unreachable!() };
        assign.unmatched.as_mut().unwrap().held_by = Some(holder);
        assign.reason = "it was paid for this order".to_owned();
        PaymentCommand::AssignDeposit(assign)
    }

    /// An operator gives it to another payment.
    pub(super) fn reassign(self, to_payment_id: PaymentId) -> PaymentCommand {
        let (reason, at) = ("it was paid for another order".to_owned(), at(DEADLINE + 450));
        PaymentCommand::ReassignDeposit(Box::new(ReassignDeposit {
            deposit: self.0.deposit,
            to_payment_id,
            reason,
            at,
        }))
    }

    /// An operator records that it was sent back.
    pub(super) fn sent_back(self) -> PaymentCommand {
        PaymentCommand::RefundHeldDeposit(Box::new(RefundHeldDeposit {
            deposit: self.0.deposit,
            transaction: "0xsentback".to_owned(),
            network_fee: Some(Money::new(3, AssetId::native(&chain()))),
            reason: "the payer asked for it".to_owned(),
            at: at(DEADLINE + 600),
        }))
    }
}

/// The same report, after the other payment was told of it.
pub(super) fn told(report: PaymentCommand, told: PaymentId) -> PaymentCommand {
    let PaymentCommand::ObserveDeposit(report) = report else { unreachable!() };
    PaymentCommand::ObserveToldDeposit(Box::new(ToldDeposit { report: *report, told }))
}

pub(super) fn other_payment() -> PaymentId {
    PaymentId::from_uuid(uuid::Uuid::from_u128(0xb0b))
}

/// Commands applied one after another.
#[derive(Clone, Default)]
pub(super) struct Scenario {
    pub(super) payment: Payment,
    last: Option<Result<Vec<PaymentEvent>, PaymentError>>,
}

impl Scenario {
    pub(super) fn of(payment: &Payment) -> Self {
        Self { payment: payment.clone(), last: None }
    }

    pub(super) fn when(mut self, command: PaymentCommand) -> Self {
        let outcome = decide(&self.payment, command);
        for event in outcome.iter().flatten() {
            evolve(&mut self.payment, event.clone());
        }
        self.last = Some(outcome);
        self
    }

    pub(super) fn given(self, commands: impl IntoIterator<Item = PaymentCommand>) -> Self {
        commands.into_iter().fold(self, Self::when)
    }

    /// The names of the events that the last command brought about.
    pub(super) fn events(&self) -> Vec<&'static str> {
        self.last.as_ref().unwrap().as_ref().unwrap().iter().map(PaymentEvent::name).collect()
    }

    /// The events that the last command brought about.
    pub(super) fn last_events(&self) -> &[PaymentEvent] {
        self.last.as_ref().unwrap().as_ref().unwrap()
    }

    #[track_caller]
    pub(super) fn then(self, events: &[&str]) -> Self {
        assert_eq!(self.events(), events);
        self
    }

    #[track_caller]
    pub(super) fn refused(self, error: &PaymentError) -> Self {
        assert_eq!(self.last.as_ref().unwrap().as_ref().unwrap_err(), error);
        self
    }

    /// Status and flags in one line, for example `completed overpaid`.
    #[track_caller]
    pub(super) fn stands(self, expected: &str) -> Self {
        let state = self.payment.state().unwrap();
        let mut words = vec![state.status.as_str()];
        words.extend(state.flags.names());
        assert_eq!(words.join(" "), expected);
        self
    }
}
