//! Random histories: what merchants, payers, chains and clocks may do to a ledger.

use proptest::prelude::*;
use uuid::Uuid;
use wopay_domain::deposit::{AssignUnmatched, ObserveUnmatched, RefundUnmatched, UnmatchedDepositCommand};
use wopay_domain::merchant::{MerchantCommand, MerchantPolicy, RegisterMerchant};
use wopay_domain::payment::{
    AssignDeposit, CompleteRefund, DepositDecision, DepositReport, DepositStage, Holder, LateDeposits, PaymentCommand,
    PaymentError, ReassignDeposit, RefundHeldDeposit, RequestRefund, ToldDeposit, UnmatchedMoney,
};
use wopay_domain::{ApiKeyId, DepositId, DepositKey, Money, PaymentId, RefundId, SecretRef, Timestamp};

use super::actors::{asset, at, block, create, merchant_id, native, report};
use super::ledger::Book;

const MERCHANTS: u8 = 3;
const PAYMENTS: u8 = 5;
/// Blocks of two hours and two days: deposits take effect in several of both, and the wrong way round.
const BLOCKS: [u32; 3] = [0, 400, 4_000];
const SHARED_LEG: u32 = 77;

/// Something that happens. What the rules refuse does not happen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Open {
        payment: u8,
        wide: bool,
        hold_late: bool,
    },
    Deposit {
        payment: u8,
        deposit: u8,
        block: u8,
        fork: u8,
        stage: u8,
        revision: u8,
    },
    Expire {
        payment: u8,
    },
    Cancel {
        payment: u8,
    },
    Refund {
        payment: u8,
        refund: u8,
        act: RefundAct,
    },
    /// An operator decides about a deposit of a payment.
    Decide {
        payment: u8,
        deposit: u8,
        back: bool,
    },
    /// An operator gives a deposit that a payment holds to another; the process may die before that one is told.
    Reassign {
        payment: u8,
        deposit: u8,
        to: u8,
        dies: bool,
    },
    /// Money that no payment claims: reported, and decided about. `stage` as of a deposit, 3 assigned, 4 sent back.
    Unmatched {
        deposit: u8,
        block: u8,
        stage: u8,
        revision: u8,
        payment: u8,
    },
    IssueKey {
        merchant: u8,
        key: u8,
    },
    RevokeKey {
        merchant: u8,
        key: u8,
    },
    Webhook {
        merchant: u8,
        url: Option<u8>,
    },
    Suspend {
        merchant: u8,
    },
    Reinstate {
        merchant: u8,
    },
}

/// What becomes of a refund.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RefundAct {
    Request,
    Complete,
    Cancel,
}

/// Up to 60 steps, mostly deposits.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let payment = || 0..PAYMENTS;
    let merchant = || 0..MERCHANTS;
    let step = prop_oneof![
        4 => (payment(), prop::bool::weighted(0.2), any::<bool>())
            .prop_map(|(payment, wide, hold_late)| Step::Open { payment, wide, hold_late }),
        12 => (payment(), 0_u8..4, 0_u8..3, 0_u8..2, 0_u8..3, 0_u8..12)
            .prop_map(|(payment, deposit, block, fork, stage, revision)| Step::Deposit {
                payment, deposit, block, fork, stage, revision,
            }),
        1 => payment().prop_map(|payment| Step::Expire { payment }),
        1 => payment().prop_map(|payment| Step::Cancel { payment }),
        5 => (payment(), 0_u8..3, refund_act())
            .prop_map(|(payment, refund, act)| Step::Refund { payment, refund, act }),
        2 => (payment(), 0_u8..4, any::<bool>())
            .prop_map(|(payment, deposit, back)| Step::Decide { payment, deposit, back }),
        3 => (payment(), 0_u8..4, payment(), any::<bool>())
            .prop_map(|(payment, deposit, to, dies)| Step::Reassign { payment, deposit, to, dies }),
        4 => (0_u8..3, 0_u8..3, 0_u8..5, 0_u8..12, payment()).prop_map(|(deposit, block, stage, revision, payment)| {
            Step::Unmatched { deposit, block, stage, revision, payment }
        }),
        1 => (merchant(), 0_u8..3).prop_map(|(merchant, key)| Step::IssueKey { merchant, key }),
        1 => (merchant(), 0_u8..3).prop_map(|(merchant, key)| Step::RevokeKey { merchant, key }),
        1 => (merchant(), prop::option::of(0_u8..3)).prop_map(|(merchant, url)| Step::Webhook { merchant, url }),
        1 => merchant().prop_map(|merchant| Step::Suspend { merchant }),
        1 => merchant().prop_map(|merchant| Step::Reinstate { merchant }),
    ];
    prop::collection::vec(step, 0..60)
}

fn refund_act() -> impl Strategy<Value = RefundAct> {
    prop_oneof![3 => Just(RefundAct::Request), 2 => Just(RefundAct::Complete), 1 => Just(RefundAct::Cancel)]
}

/// Registers the merchants and lets the steps happen.
pub(crate) fn run(book: &mut Book, steps: &[Step]) {
    for number in (0..MERCHANTS).map(u128::from) {
        let id = merchant_id(number);
        let profile = SecretRef::from_uuid(Uuid::from_u128(number));
        let register = RegisterMerchant { merchant_id: id, profile, policy: MerchantPolicy::default(), at: at(0) };
        book.merchant(id, MerchantCommand::Register(register)).unwrap();
    }
    for (second, step) in (1..).zip(steps) {
        take(book, second, *step);
    }
}

fn payment_id(number: u8) -> PaymentId {
    PaymentId::from_uuid(Uuid::from_u128(0xbbbb_0000_0000_0000_0000_0000_0000_0000 + u128::from(number)))
}

/// A refusal is an answer, too: the history goes on without.
fn take(book: &mut Book, second: u32, step: Step) {
    let now = at(second);
    match step {
        Step::Open { payment, wide, hold_late } => {
            let merchant = merchant_id(u128::from(payment % MERCHANTS));
            let minor = if wide { u128::MAX } else { 1_000_000 };
            let mut create = create(payment_id(payment), merchant, &format!("order {payment}"), minor, now);
            // Block 2 is late, blocks 0 and 1 are not.
            create.terms.expires_at = now.max(block(BLOCKS[1], 0).time + std::time::Duration::from_secs(1));
            create.terms.expires_at += std::time::Duration::from_micros(1);
            create.terms.policy.late_deposits = if hold_late { LateDeposits::Hold } else { LateDeposits::Accept };
            book.payment(payment_id(payment), PaymentCommand::Create(Box::new(create))).ok();
        }
        Step::Deposit { payment, deposit, block: number, fork, stage, revision } => {
            let stage = match stage {
                0 => DepositStage::Seen { confirmations: 1 },
                1 => DepositStage::Confirmed { confirmations: 12 + second },
                _ => DepositStage::Orphaned,
            };
            let amount = deposit_amount(payment, deposit, number, fork);
            let key = deposit_key(payment, deposit);
            let mut report = report(key, u64::from(revision), amount, block(BLOCKS[usize::from(number)], fork), stage);
            report.at = now;
            observe(book, payment_id(payment), report);
        }
        Step::Expire { payment } => {
            book.payment(payment_id(payment), PaymentCommand::Expire { at: at(1_000_000) }).ok();
        }
        Step::Cancel { payment } => {
            book.payment(payment_id(payment), PaymentCommand::Cancel { at: now }).ok();
        }
        Step::Refund { payment, refund, act } => take_refund(book, now, (payment, refund), act),
        Step::Decide { payment, deposit, back } => take_decision(book, now, (payment, deposit), back),
        Step::Reassign { payment, deposit, to, dies } => take_reassignment(book, now, (payment, deposit), to, dies),
        Step::Unmatched { .. } => take_unmatched(book, now, step),
        merchant_step => take_merchant(book, second, merchant_step),
    }
}

fn take_refund(book: &mut Book, at: Timestamp, (payment, refund): (u8, u8), act: RefundAct) {
    let refund_id = RefundId::from_uuid(Uuid::from_u128(u128::from(payment) * 100 + u128::from(refund)));
    let command = match act {
        RefundAct::Request => PaymentCommand::RequestRefund(Box::new(RequestRefund {
            refund_id,
            amount: Money::new(100_000 * (1 + u128::from(refund)), asset().id),
            to: "0xpayer".to_owned(),
            reason: "returned".to_owned(),
            at,
        })),
        RefundAct::Complete => PaymentCommand::CompleteRefund(Box::new(CompleteRefund {
            refund_id,
            transaction: format!("0x{payment}{refund}"),
            network_fee: (refund > 0).then(|| Money::new(21_000 * u128::from(refund), native())),
            at,
        })),
        RefundAct::Cancel => PaymentCommand::CancelRefund { refund_id, reason: "kept".to_owned(), at },
    };
    book.payment(payment_id(payment), command).ok();
}

fn take_decision(book: &mut Book, at: Timestamp, (payment, deposit): (u8, u8), back: bool) {
    let key = deposit_key(payment, deposit);
    let deposit = report(key, 0, Money::new(1, asset().id), block(0, 0), DepositStage::Orphaned).deposit;
    let reason = "so it was decided".to_owned();
    let command = if back {
        let (transaction, network_fee) = ("0xback".to_owned(), Some(Money::new(3, native())));
        PaymentCommand::RefundHeldDeposit(Box::new(RefundHeldDeposit { deposit, transaction, network_fee, reason, at }))
    } else {
        PaymentCommand::AssignDeposit(Box::new(AssignDeposit { deposit, unmatched: None, reason, at }))
    };
    book.payment(payment_id(payment), command).ok();
}

/// As the write side does it: the payment that has it is told first.
pub(crate) fn observe(book: &mut Book, holder: PaymentId, report: DepositReport) {
    let command = PaymentCommand::ObserveDeposit(Box::new(report.clone()));
    if let Err(PaymentError::DepositReassigned(told)) = book.payment(holder, command.clone())
        && tell_of_held(book, holder, &report.deposit)
        && book.payment(told, command).is_ok()
    {
        let command = PaymentCommand::ObserveToldDeposit(Box::new(ToldDeposit { report, told }));
        book.payment(holder, command).ok();
    }
}

fn take_reassignment(book: &mut Book, at: Timestamp, (payment, number): (u8, u8), to: u8, dies: bool) {
    let key = deposit_key(payment, number);
    let deposit = report(key, 0, Money::new(1, asset().id), block(0, 0), DepositStage::Orphaned).deposit;
    let (holder, to_payment_id, reason) = (payment_id(payment), payment_id(to), "so it was decided".to_owned());
    let assign = ReassignDeposit { deposit: deposit.clone(), to_payment_id, reason, at };
    // The other payment is asked before, on a copy of what it is.
    let Some(told) = told_of_held(book, holder, &deposit, &assign.reason, at) else { return };
    let receiver = book.payments.get(&to_payment_id).map(|(payment, _)| payment.clone()).unwrap_or_default();
    if wopay_domain::payment::decide(&receiver, told).is_err() {
        return;
    }
    let decided = book.payment(holder, PaymentCommand::ReassignDeposit(Box::new(assign)));
    if decided.is_ok() && !dies {
        tell_of_held(book, holder, &deposit);
    }
}

fn told_of_held(
    book: &Book,
    holder: PaymentId,
    deposit: &DepositKey,
    reason: &str,
    at: Timestamp,
) -> Option<PaymentCommand> {
    let state = book.payments.get(&holder)?.0.state()?;
    let known = state.deposits.get(deposit)?;
    let unmatched = UnmatchedMoney {
        revision: known.revision,
        amount: known.amount.clone(),
        address: state.terms.address.clone(),
        from: known.from.clone(),
        block: known.block.clone(),
        held_by: Some(Holder { payment_id: holder, merchant_id: state.merchant_id }),
    };
    let (deposit, reason, unmatched) = (deposit.clone(), reason.to_owned(), Some(unmatched));
    Some(PaymentCommand::AssignDeposit(Box::new(AssignDeposit { deposit, unmatched, reason, at })))
}

/// Tells a payment of the money that another one held. It refuses if it has had the deposit itself meanwhile.
pub(crate) fn tell_of_held(book: &mut Book, holder: PaymentId, deposit: &DepositKey) -> bool {
    let known = book.payments.get(&holder).and_then(|(payment, _)| payment.state()?.deposits.get(deposit));
    let Some(DepositDecision::Reassigned { payment_id, reason, at }) = known.and_then(|known| known.decision.clone())
    else {
        return false;
    };
    let told = told_of_held(book, holder, deposit, &reason, at).unwrap();
    book.payment(payment_id, told).is_ok()
}

/// As the write side does it: a payment that money was assigned to is told of everything first.
fn take_unmatched(book: &mut Book, at: Timestamp, step: Step) {
    let Step::Unmatched { deposit, block: number, stage, revision, payment } = step else { return };
    let kind = if stage == 1 { DepositStage::Confirmed { confirmations: 12 } } else { DepositStage::Orphaned };
    let amount = Money::new(200_000 + u128::from(number), asset().id);
    let mut report = report(
        (u32::from(deposit), SHARED_LEG),
        u64::from(revision) + 1,
        amount,
        block(BLOCKS[usize::from(number)], 0),
        kind,
    );
    report.at = at;
    let id = DepositId::of(&report.deposit);
    let reason = "so it was decided".to_owned();
    match stage {
        3 => {
            let exists = book.payments.get(&payment_id(payment)).is_some_and(|(payment, _)| payment.state().is_some());
            let payment_id = payment_id(payment);
            let assign = UnmatchedDepositCommand::Assign(AssignUnmatched { payment_id, reason, at });
            if exists && book.deposit(id, assign).is_ok() {
                tell(book, id);
            }
        }
        4 => {
            let transaction = format!("0xback{deposit}");
            let refund = RefundUnmatched { transaction, network_fee: None, reason, at };
            book.deposit(id, UnmatchedDepositCommand::Refund(Box::new(refund))).ok();
        }
        _ => {
            let told = tell(book, id);
            let observe = PaymentCommand::ObserveDeposit(Box::new(report.clone()));
            if let Some(payment) = told {
                book.payment(payment, observe).ok();
            }
            let address = "0xnobodys".to_owned();
            let observe = ObserveUnmatched { address, report, told };
            book.deposit(id, UnmatchedDepositCommand::Observe(Box::new(observe))).ok();
        }
    }
}

/// Tells a payment of the money that was assigned to it.
pub(crate) fn tell(book: &mut Book, id: DepositId) -> Option<PaymentId> {
    let state = book.deposits.get(&id)?.0.state()?.clone();
    let payment = state.assigned_to()?;
    let unmatched = UnmatchedMoney {
        revision: state.revision,
        amount: state.amount,
        address: state.address,
        from: state.from,
        block: state.block,
        held_by: None,
    };
    let (reason, at) = ("so it was decided".to_owned(), state.recorded_at);
    let assign = AssignDeposit { deposit: state.deposit, unmatched: Some(unmatched), reason, at };
    book.payment(payment, PaymentCommand::AssignDeposit(Box::new(assign))).ok();
    Some(payment)
}

fn take_merchant(book: &mut Book, second: u32, step: Step) {
    let now = at(second);
    let key_id =
        |merchant: u8, key: u8| ApiKeyId::from_uuid(Uuid::from_u128(u128::from(merchant) * 100 + u128::from(key)));
    let secret = |number: u8| SecretRef::from_uuid(Uuid::from_u128(1_000 + u128::from(number)));
    let (merchant, command) = match step {
        Step::IssueKey { merchant, key } => {
            let prefix = format!("wp_{merchant}_{key}");
            let key_id = key_id(merchant, key);
            (merchant, MerchantCommand::IssueApiKey { key_id, prefix, secret: secret(key), at: now })
        }
        Step::RevokeKey { merchant, key } => {
            (merchant, MerchantCommand::RevokeApiKey { key_id: key_id(merchant, key), at: now })
        }
        Step::Webhook { merchant, url } => {
            let url = url.map(|number| format!("https://shop.example/{number}"));
            (merchant, MerchantCommand::ConfigureWebhook { url, secret: secret(9), at: now })
        }
        Step::Suspend { merchant } => (merchant, MerchantCommand::Suspend { reason: "risk".to_owned(), at: now }),
        Step::Reinstate { merchant } => (merchant, MerchantCommand::Reinstate { at: now }),
        Step::Open { .. }
        | Step::Deposit { .. }
        | Step::Expire { .. }
        | Step::Cancel { .. }
        | Step::Refund { .. }
        | Step::Decide { .. }
        | Step::Reassign { .. }
        | Step::Unmatched { .. } => {
            return;
        }
    };
    book.merchant(merchant_id(u128::from(merchant)), command).ok();
}

/// One transaction pays several payments: the leg tells them apart. Only deposit 1 is any payment's, and nobody's, by turns,
/// as reorganizations have it.
fn deposit_key(payment: u8, deposit: u8) -> (u32, u32) {
    (u32::from(deposit), if deposit == 1 { SHARED_LEG } else { u32::from(payment) })
}

/// What a deposit holds follows from where it stands: the same block always tells the same.
fn deposit_amount(payment: u8, deposit: u8, block: u8, fork: u8) -> Money {
    match (deposit, fork) {
        // Dust of an asset that nobody asked for.
        (3, _) => Money::new(7, native()),
        (2, 1) => Money::new(u128::MAX, asset().id),
        _ => Money::new(300_000 + u128::from(payment) * 1_000 + u128::from(block) * 400_000, asset().id),
    }
}
