//! Merchants, payers and blocks, by number.

use uuid::Uuid;
use wopay_domain::deposit::{AssignUnmatched, ObserveUnmatched, UnmatchedDepositCommand};
use wopay_domain::money::Percentage;
use wopay_domain::payment::{
    CreatePayment, DepositReport, DepositStage, LateDeposits, PaymentCommand, PaymentPolicy, PaymentTerms,
};
use wopay_domain::{
    Asset, AssetId, BlockRef, ChainName, DepositId, DepositKey, DepositLeg, MerchantId, Money, PaymentId, Timestamp,
};

use super::ledger::Book;
use super::steps::tell;

const START_SECONDS: i64 = 1_790_000_000;

/// A moment, so many seconds after the tests' time begins.
pub(crate) fn at(seconds: u32) -> Timestamp {
    Timestamp::from_timestamp(START_SECONDS + i64::from(seconds), 123_456_000).unwrap()
}

pub(crate) fn merchant_id(number: u128) -> MerchantId {
    MerchantId::from_uuid(Uuid::from_u128(0xaaaa_0000_0000_0000_0000_0000_0000_0000 + number))
}

pub(crate) fn chain() -> ChainName {
    "ethereum".parse().unwrap()
}

/// The token that payments ask for.
pub(crate) fn asset() -> Asset {
    let id = AssetId::token(&chain(), "0xdac17f958d2ee523a2206206994597c13d831ec7").unwrap();
    Asset { id, symbol: "USDT".to_owned(), decimals: 6 }
}

/// An asset that no payment asks for.
pub(crate) fn native() -> AssetId {
    AssetId::native(&chain())
}

/// A payment of `minor` units that expires an hour after it is opened, twelve confirmations.
pub(crate) fn create(
    id: PaymentId,
    merchant: MerchantId,
    order_id: &str,
    minor: u128,
    opened: Timestamp,
) -> CreatePayment {
    CreatePayment {
        payment_id: id,
        merchant_id: merchant,
        order_id: order_id.to_owned(),
        terms: PaymentTerms {
            amount: Money::new(minor, asset().id),
            asset: asset(),
            chain: chain(),
            address: format!("0x{}", id.as_uuid().simple()),
            callback_url: None,
            expires_at: opened + std::time::Duration::from_secs(3600),
            policy: PaymentPolicy {
                underpayment_tolerance: Percentage::ZERO,
                required_confirmations: 12,
                late_deposits: LateDeposits::Accept,
            },
        },
        at: opened,
    }
}

/// Block `number` of fork `fork`, ten seconds after its parent.
pub(crate) fn block(number: u32, fork: u8) -> BlockRef {
    BlockRef { number: u64::from(number), hash: format!("0x{fork:02x}{number:08x}"), time: at(number * 10) }
}

pub(crate) fn tx_hash(number: u32) -> String {
    format!("0x{number:064x}")
}

/// A report of token money: log `leg` of transaction `transaction`.
pub(crate) fn report(
    (transaction, leg): (u32, u32),
    revision: u64,
    amount: Money,
    block: BlockRef,
    stage: DepositStage,
) -> DepositReport {
    let deposit = DepositKey { chain: chain(), transaction: tx_hash(transaction), leg: DepositLeg::Log(leg) };
    let at = block.time;
    DepositReport { deposit, revision, amount, from: Some("0xpayer".to_owned()), block, stage, at }
}

/// Tells the ledger of money that no payment claims.
pub(crate) fn unmatched(report: DepositReport) -> UnmatchedDepositCommand {
    let address = "0xnobodys".to_owned();
    UnmatchedDepositCommand::Observe(Box::new(ObserveUnmatched { address, report, told: None }))
}

/// Reports confirmed money that no payment claims, and gives it to a payment.
pub(crate) fn assign_stray(book: &mut Book, stray: DepositReport, payment_id: PaymentId) {
    let (id, at) = (DepositId::of(&stray.deposit), stray.at);
    book.deposit(id, unmatched(stray)).unwrap();
    let assign = AssignUnmatched { payment_id, reason: "the invoice says so".to_owned(), at };
    book.deposit(id, UnmatchedDepositCommand::Assign(assign)).unwrap();
    assert_eq!(tell(book, id), Some(payment_id));
}

/// Pays a payment in full, confirmed, in one transaction.
pub(crate) fn settle(book: &mut Book, id: PaymentId, transaction: u32, minor: u128) {
    let amount = Money::new(minor, asset().id);
    let stage = DepositStage::Confirmed { confirmations: 12 };
    let report = report((transaction, 0), 1, amount, block(5, 0), stage);
    book.payment(id, PaymentCommand::ObserveDeposit(Box::new(report))).unwrap();
}
