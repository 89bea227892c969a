//! The ledger's view of a block, beside a chain that says what the test wants.

mod reassigned;

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta};
use cqrs_es::DomainEvent as _;
use sqlx::PgPool;
use wopay_audit::reconcile::{
    ChainBalances, Difference, DifferenceKind, Found, ReconcileScope, Reconciliation, reconcile,
};
use wopay_domain::deposit::{
    AssignUnmatched, ObserveUnmatched, RefundUnmatched, UnmatchedDeposit, UnmatchedDepositCommand,
};
use wopay_domain::payment::{
    AssignDeposit, CompleteRefund, CreatePayment, DepositReport, DepositStage, LateDeposits, Payment, PaymentCommand,
    PaymentPolicy, PaymentTerms, RequestRefund, UnmatchedMoney, decide, evolve,
};
use wopay_domain::{
    Asset, AssetId, BlockRef, ChainFamily, ChainName, ChainSpec, DepositId, DepositKey, DepositLeg, Money, Percentage,
    Timestamp, deposit,
};
use wopay_testkit::{TestDatabase, database};

/// A chain whose accounts hold what is written here, and else nothing.
#[derive(Clone, Default)]
struct Chain {
    held: HashMap<(String, AssetId), u128>,
    /// The block that answers are of, if it is later than the one compared.
    height: u64,
    /// It tells of its newest block alone.
    has_no_past: bool,
}

impl Chain {
    fn holds(held: impl IntoIterator<Item = ((String, AssetId), u128)>) -> Self {
        Self { held: held.into_iter().collect(), ..Self::default() }
    }
}

impl ChainBalances for Chain {
    type Error = std::io::Error;

    fn is_pinned(&self) -> bool {
        !self.has_no_past
    }

    async fn read(&self, accounts: &[(&str, &AssetId)]) -> Result<Vec<Found>, Self::Error> {
        let held = |(address, asset): &(&str, &AssetId)| self.held.get(&((*address).to_owned(), (*asset).clone()));
        let found = accounts.iter().map(|account| held(account).copied().unwrap_or(0));
        Ok(found.map(|minor| Found { minor, height: self.height }).collect())
    }
}

fn chain_name() -> ChainName {
    "bsc".parse().unwrap()
}

fn native() -> AssetId {
    AssetId::native(&chain_name())
}

fn usdt() -> Asset {
    let id = AssetId::token(&chain_name(), "0x55d398326f99059ff775485246999027b3197955").unwrap();
    Asset { id, symbol: "USDT".to_owned(), decimals: 18 }
}

fn at(seconds: i64) -> Timestamp {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

fn block(number: u64) -> BlockRef {
    BlockRef { number, hash: format!("0x{number:064x}"), time: at(i64::try_from(number).unwrap()) }
}

fn address(number: u32) -> String {
    format!("0x{number:040x}")
}

/// A ledger with payments 1, 2, 3 … at addresses of the same numbers.
struct Book {
    database: TestDatabase,
    payments: HashMap<u32, Payment>,
    unmatched: HashMap<u32, UnmatchedDeposit>,
    position: i64,
}

impl Book {
    async fn new() -> Self {
        Self { database: database().await, payments: HashMap::new(), unmatched: HashMap::new(), position: 0 }
    }

    fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    async fn open(&mut self, number: u32, chain: &str) {
        self.open_unclaimed(number, chain).await;
        sqlx::query("INSERT INTO claims (kind, key, aggregate_id) VALUES ('deposit:evm', $1, $2)")
            .bind(address(number))
            .bind(id(number))
            .execute(self.pool())
            .await
            .unwrap();
    }

    async fn open_unclaimed(&mut self, number: u32, chain: &str) {
        let asset = Asset { id: AssetId::native(&chain.parse().unwrap()), symbol: "N".to_owned(), decimals: 18 };
        let create = CreatePayment {
            payment_id: id(number).parse().unwrap(),
            merchant_id: id(0).parse().unwrap(),
            order_id: number.to_string(),
            terms: PaymentTerms {
                amount: Money::new(1_000, asset.id.clone()),
                asset,
                chain: chain.parse().unwrap(),
                address: address(number),
                callback_url: None,
                expires_at: at(0) + TimeDelta::days(1),
                policy: PaymentPolicy {
                    underpayment_tolerance: Percentage::ZERO,
                    required_confirmations: 1,
                    late_deposits: LateDeposits::Accept,
                },
            },
            at: at(0),
        };
        self.execute(number, PaymentCommand::Create(Box::new(create))).await;
    }

    /// A report of `minor` native units on bsc in block `number`.
    async fn report(&mut self, payment: u32, minor: u128, number: u64, stage: DepositStage) {
        self.report_of(payment, Money::new(minor, native()), number, stage).await;
    }

    async fn report_of(&mut self, payment: u32, amount: Money, number: u64, stage: DepositStage) {
        let report = DepositReport {
            deposit: DepositKey {
                chain: chain_name(),
                transaction: format!("0x{payment:x}{}", amount.minor()),
                leg: DepositLeg::Native,
            },
            revision: u64::try_from(self.position).unwrap() + 1,
            amount,
            from: None,
            block: block(number),
            stage,
            at: at(100),
        };
        self.execute(payment, PaymentCommand::ObserveDeposit(Box::new(report))).await;
    }

    async fn execute(&mut self, number: u32, command: PaymentCommand) {
        let payment = self.payments.entry(number).or_default();
        let events = decide(payment, command).unwrap();
        events.iter().for_each(|event| evolve(payment, event.clone()));
        for event in events {
            let payload = serde_json::to_value(&event).unwrap();
            self.insert("payment", &id(number), event.name(), &event.event_version(), payload).await;
        }
    }

    async fn request_refund(&mut self, number: u32, minor: u128) {
        let (refund_id, amount) = (id(77).parse().unwrap(), Money::new(minor, native()));
        let (to, reason) = (address(50), "asked".to_owned());
        let request = RequestRefund { refund_id, amount, to, reason, at: at(130) };
        self.execute(number, PaymentCommand::RequestRefund(Box::new(request))).await;
    }

    async fn complete_refund(&mut self, number: u32, fee: Option<u128>) {
        let refund_id = id(77).parse().unwrap();
        let network_fee = fee.map(|minor| Money::new(minor, native()));
        let complete = CompleteRefund { refund_id, transaction: format!("0x{:064x}", 9), network_fee, at: at(140) };
        self.execute(number, PaymentCommand::CompleteRefund(Box::new(complete))).await;
    }

    async fn insert(&mut self, kind: &str, id: &str, name: &str, version: &str, payload: serde_json::Value) {
        self.position += 1;
        sqlx::query(
            "WITH head AS (UPDATE ledger_head SET position = $1)
             INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             SELECT $1, $2, $3, 1 + (SELECT count(*) FROM events WHERE aggregate_id = $3), $4, $5, $6, '{}'",
        )
        .bind(self.position)
        .bind(kind)
        .bind(id)
        .bind(name)
        .bind(version)
        .bind(payload)
        .execute(&self.database.pool)
        .await
        .unwrap();
    }

    /// A command to the deposit of this number, which is of this many native units and came to the address of this number.
    async fn unmatched(&mut self, number: u32, command: UnmatchedDepositCommand) {
        let deposit = self.unmatched.entry(number).or_default();
        let events = deposit::decide(deposit, command).unwrap();
        events.iter().for_each(|event| deposit::evolve(deposit, event.clone()));
        for event in events {
            let payload = serde_json::to_value(&event).unwrap();
            let id = DepositId::of(event.deposit()).to_string();
            self.insert("deposit", &id, event.name(), &event.event_version(), payload).await;
        }
    }

    /// Reports that deposit, of so many native units, in a block.
    async fn stray(&mut self, number: u32, minor: u128, at_block: u64, stage: DepositStage, told: Option<u32>) {
        let report = DepositReport {
            deposit: stray(number),
            revision: u64::try_from(self.position).unwrap() + 1,
            amount: Money::new(minor, native()),
            from: None,
            block: block(at_block),
            stage,
            at: at(100),
        };
        let told = told.map(|payment| id(payment).parse().unwrap());
        let observe = ObserveUnmatched { address: address(number), report, told };
        self.unmatched(number, UnmatchedDepositCommand::Observe(Box::new(observe))).await;
    }

    /// As an operator assigns that deposit: its own stream first, then the payment's.
    async fn assign(&mut self, number: u32, payment: u32) {
        let payment_id = id(payment).parse().unwrap();
        let assign = AssignUnmatched { payment_id, reason: "r".to_owned(), at: at(110) };
        self.unmatched(number, UnmatchedDepositCommand::Assign(assign)).await;
        let state = self.unmatched[&number].state().unwrap().clone();
        let unmatched = UnmatchedMoney {
            revision: state.revision,
            amount: state.amount,
            address: state.address,
            from: state.from,
            block: state.block,
            held_by: None,
        };
        let assign =
            AssignDeposit { deposit: state.deposit, unmatched: Some(unmatched), reason: "r".to_owned(), at: at(110) };
        self.execute(payment, PaymentCommand::AssignDeposit(Box::new(assign))).await;
    }

    /// What a watcher noted of money of this kind at the address of this number, and told nobody of.
    async fn noted(&self, number: u32, asset: &AssetId, minor: u64, at_block: i64, kind: &str, stage: &str) {
        sqlx::query(
            "INSERT INTO deposit_observations
                 (chain, tx_hash, leg, address, asset, amount_minor, block_number, block_hash, block_time, stage, kind)
             VALUES ('bsc', $1, 'native', $2, $3, $4, $5, '0x', now(), $6, $7)",
        )
        .bind(format!("{kind}{number}{minor}{stage}"))
        .bind(address(number))
        .bind(asset.as_str())
        .bind(i64::try_from(minor).unwrap())
        .bind(at_block)
        .bind(stage)
        .bind(kind)
        .execute(self.pool())
        .await
        .unwrap();
    }

    async fn reconcile(&self, number: u64, chain: &Chain) -> Reconciliation {
        let assets = vec![Asset { id: native(), symbol: "BNB".to_owned(), decimals: 18 }, usdt()];
        let (name, family) = (chain_name(), ChainFamily::Evm);
        let chain_spec = ChainSpec {
            name,
            family,
            chain_id: Some(56),
            required_confirmations: 1,
            assets,
            min_deposits: std::collections::BTreeMap::new(),
        };
        let scope = ReconcileScope { chain: chain_spec, block: block(number), treasury: vec![address(99)] };
        let chain = Chain { height: chain.height.max(number), ..chain.clone() };
        reconcile(self.pool(), &scope, &chain, |_| {}).await.unwrap()
    }
}

fn id(number: u32) -> String {
    format!("019ab000-0000-7000-8000-{number:012x}")
}

/// The deposit of this number.
fn stray(number: u32) -> DepositKey {
    DepositKey { chain: chain_name(), transaction: format!("0xdd{number:x}"), leg: DepositLeg::Native }
}

fn brief(difference: &Difference) -> (&str, DifferenceKind, u128, u128) {
    (&difference.address, difference.kind, difference.expected, difference.found)
}

const SEEN: DepositStage = DepositStage::Seen { confirmations: 1 };
const CONFIRMED: DepositStage = DepositStage::Confirmed { confirmations: 1 };

#[tokio::test]
async fn the_ledger_is_seen_as_of_the_block() {
    let mut book = Book::new().await;
    book.open(1, "bsc").await;
    // On another chain than it asks for: held, and expected all the same.
    book.open(2, "ethereum").await;
    book.open(3, "bsc").await;
    book.report(1, 10, 5, CONFIRMED).await;
    book.report(1, 20, 6, SEEN).await;
    book.report(1, 40, 9, CONFIRMED).await;
    book.report(2, 7, 6, CONFIRMED).await;
    book.report_of(2, Money::new(3, usdt().id), 6, CONFIRMED).await;
    // Gone for good; and moved to a later block.
    book.report(3, 5, 4, CONFIRMED).await;
    book.report(3, 5, 4, DepositStage::Orphaned).await;
    book.report(3, 6, 4, SEEN).await;
    book.report(3, 6, 8, SEEN).await;

    let mut chain = Chain::default();
    chain.held.extend([
        ((address(1), native()), 30),
        ((address(2), native()), 7),
        ((address(2), usdt().id), 3),
        ((address(99), native()), 1_000),
    ]);
    let result = book.reconcile(7, &chain).await;
    assert_eq!(result.differences, []);
    assert_eq!((result.addresses, result.is_premature(), result.position), (3, true, book.position));
    let total = &result.totals[0];
    assert_eq!((total.sums.confirmed, total.sums.seen, total.found, total.treasury), (17, 20, 37, 1_000));
    assert_eq!((result.totals[1].sums.confirmed, result.totals[1].found), (3, 3));

    let result = book.reconcile(9, &chain).await;
    let differences: Vec<_> = result.differences.iter().map(brief).collect();
    let (first, third) = (address(1), address(3));
    assert_eq!(
        differences,
        [(first.as_str(), DifferenceKind::Missing, 70, 30), (third.as_str(), DifferenceKind::Missing, 6, 0)]
    );
    assert_eq!(result.totals[0].missing, 46);
}

#[tokio::test]
async fn refunds_may_have_been_paid_from_the_address_or_not() {
    let mut book = Book::new().await;
    book.open(1, "bsc").await;
    book.report(1, 1_000, 5, CONFIRMED).await;
    book.request_refund(1, 400).await;
    let balanced = async |book: &Book, held: u128| {
        let chain = Chain::holds([((address(1), native()), held)]);
        book.reconcile(9, &chain).await.is_balanced()
    };
    assert!(balanced(&book, 1_000).await && !balanced(&book, 600).await, "a request moves nothing");
    book.complete_refund(1, Some(21)).await;
    assert!(balanced(&book, 1_000).await && balanced(&book, 579).await);
    assert!(!balanced(&book, 600).await && !balanced(&book, 1_021).await);
}

#[tokio::test]
async fn addresses_without_a_claim_are_looked_at_too() {
    let mut book = Book::new().await;
    book.open(1, "bsc").await;
    // As if its claim were gone: the events know it.
    book.open_unclaimed(2, "bsc").await;
    book.open(3, "bsc").await;
    for number in 1..=3 {
        book.report(number, 10, 5, CONFIRMED).await;
    }
    // More than a page.
    sqlx::query(
        "INSERT INTO address_pool (family, idx, address)
         SELECT 'evm', n, '0x' || lpad(to_hex(n + 1000), 40, '0') FROM generate_series(0, 1999) AS n",
    )
    .execute(book.pool())
    .await
    .unwrap();
    sqlx::query("INSERT INTO address_cursors (family, next_idx) VALUES ('evm', 1200)")
        .execute(book.pool())
        .await
        .unwrap();
    let given_out = address(2_100);
    let mut chain = Chain::default();
    chain.held.extend((1..=3).map(|number| ((address(number), native()), 10)));
    chain.held.insert((given_out.clone(), native()), 4);
    // Beyond what was given out: nobody was told of it.
    chain.held.insert((address(2_900), native()), 4);
    let result = book.reconcile(9, &chain).await;
    assert_eq!((result.addresses, result.differences.len()), (1_203, 1));
    assert_eq!(brief(&result.differences[0]), (given_out.as_str(), DifferenceKind::Unrecorded, 0, 4));
    assert_eq!(result.differences[0].payment, None);
    assert_eq!(result.totals[0].sums.confirmed, 30);
}

#[tokio::test]
async fn money_of_nobody_is_expected_where_it_stands_whatever_was_decided() {
    let mut book = Book::new().await;
    book.open(1, "bsc").await;
    book.report(1, 900, 5, CONFIRMED).await;
    // Addresses that were not given out: only these events name them.
    for (number, minor) in [(11, 100), (12, 200), (13, 300), (14, 400)] {
        book.stray(number, minor, 5, CONFIRMED, None).await;
    }
    book.stray(14, 400, 5, DepositStage::Orphaned, None).await;
    book.assign(12, 1).await;
    let refund = RefundUnmatched {
        transaction: "0xee".to_owned(),
        network_fee: Some(Money::new(7, native())),
        reason: "r".to_owned(),
        at: at(120),
    };
    book.unmatched(13, UnmatchedDepositCommand::Refund(Box::new(refund))).await;

    let on_chain = |refunded: u128| {
        Chain::holds(
            [(1, 900), (11, 100), (12, 200), (13, refunded)]
                .map(|(number, minor)| ((address(number), native()), minor)),
        )
    };
    let paid_from_there = book.reconcile(9, &on_chain(0)).await;
    assert_eq!(brief(&paid_from_there.differences[0]), (address(13).as_str(), DifferenceKind::Missing, 300, 0));
    // 300 and a fee of 7 cannot both have left an account of 300; with more of another deposit they can.
    book.noted(13, &native(), 7, 5, "dust", "confirmed").await;
    for (held, left) in [(307, 0), (0, 307)] {
        let result = book.reconcile(9, &on_chain(held)).await;
        assert_eq!(result.differences, []);
        let total = &result.totals[0];
        assert_eq!((total.sums.confirmed, total.sums.unmatched, total.sums.dust), (900, 600, 7));
        assert_eq!((total.sums.refunded, total.left, total.found), (307, left, 1_200 + held));
    }
    assert_eq!(book.reconcile(9, &on_chain(307)).await.addresses, 5);
    assert_eq!(book.reconcile(4, &Chain::default()).await.differences, [], "before they came");

    // A refund of what was assigned may have been paid from where that stands.
    book.request_refund(1, 150).await;
    book.complete_refund(1, None).await;
    let mut chain = on_chain(307);
    assert!(book.reconcile(9, &chain).await.is_balanced());
    chain.held.insert((address(12), native()), 50);
    let result = book.reconcile(9, &chain).await;
    assert_eq!(
        (result.differences.as_slice(), result.totals[0].left, result.totals[0].sums.refunded),
        (&[][..], 150, 457)
    );

    // It is gone with its block; the payment is told first.
    book.stray(12, 200, 5, DepositStage::Orphaned, Some(1)).await;
    chain.held.remove(&(address(12), native()));
    assert!(book.reconcile(9, &chain).await.is_balanced());
}

#[tokio::test]
async fn what_stands_beside_the_books_is_accounted_for() {
    let mut book = Book::new().await;
    book.open(1, "bsc").await;
    let later = AssetId::token(&chain_name(), "0x00000000000000000000000000000000000000cc").unwrap();
    book.noted(1, &native(), 3, 5, "dust", "confirmed").await;
    book.noted(1, &native(), 4, 6, "dust", "seen").await;
    book.noted(1, &native(), 8, 9, "dust", "seen").await;
    book.noted(1, &native(), 16, 5, "dust", "orphaned").await;
    book.noted(1, &usdt().id, 5, 5, "unknown_token", "confirmed").await;
    // Nobody can say how much this is: it is not asked for.
    book.noted(1, &later, 9, 5, "unknown_token", "confirmed").await;
    // Of nobody, and waiting for confirmations.
    book.noted(1, &native(), 100, 6, "money", "seen").await;
    let chain = Chain::holds([((address(1), native()), 107), ((address(1), usdt().id), 5), ((address(1), later), 9)]);
    let result = book.reconcile(7, &chain).await;
    assert_eq!(result.differences, []);
    assert_eq!((result.totals[0].sums.dust, result.totals[0].sums.seen, result.totals[1].sums.dust), (7, 100, 5));

    let short = Chain::holds([((address(1), native()), 106), ((address(1), usdt().id), 6)]);
    let result = book.reconcile(7, &short).await;
    let differences: Vec<_> = result.differences.iter().map(brief).collect();
    let of = address(1);
    let (native, token) =
        ((of.as_str(), DifferenceKind::Missing, 107, 106), (of.as_str(), DifferenceKind::Unrecorded, 5, 6));
    assert!(differences.len() == 2 && differences.contains(&native) && differences.contains(&token), "{differences:?}");
}

#[tokio::test]
async fn a_chain_that_knows_no_past_is_compared_as_of_the_block_of_each_answer() {
    let mut book = Book::new().await;
    book.open(1, "bsc").await;
    book.report(1, 10, 5, CONFIRMED).await;
    book.report(1, 20, 8, SEEN).await;
    book.report(1, 40, 12, SEEN).await;
    book.stray(11, 100, 8, CONFIRMED, None).await;
    sqlx::query("INSERT INTO chain_heads (chain, height, hash, block_time) VALUES ('bsc', 9, '0x', now())")
        .execute(book.pool())
        .await
        .unwrap();
    let mut chain = Chain::holds([((address(1), native()), 30), ((address(11), native()), 100)]);
    (chain.has_no_past, chain.height) = (true, 9);
    let result = book.reconcile(7, &chain).await;
    assert_eq!(result.differences, []);
    assert_eq!((result.block.number, result.read_up_to, result.is_premature()), (7, 9, false));
    chain.height = 8;
    chain.held.insert((address(1), native()), 29);
    let result = book.reconcile(7, &chain).await;
    assert_eq!(brief(&result.differences[0]), (address(1).as_str(), DifferenceKind::Missing, 30, 29));
}
