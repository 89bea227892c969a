//! What a world is made of, decided by its seed alone.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;
use wopay_chain_watchers::WatcherConfig;
use wopay_domain::payment::{
    CreatePayment, LateDeposits, Payment, PaymentCommand, PaymentPolicy, PaymentTerms, decide, evolve,
};
use wopay_domain::{
    Asset, AssetId, ChainFamily, ChainName, ChainSpec, MerchantId, Money, PaymentId, Percentage, Timestamp,
};

use super::nodes::Faults;
use super::random::Random;

const CHAIN_ID: u64 = 1;
const AMOUNT: u128 = 1500;

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) name: ChainName,
    pub(super) asset: Asset,
    pub(super) family: ChainFamily,
    pub(super) tells_final: bool,
    pub(super) block_time_s: u64,
    pub(super) window: u64,
    pub(super) faults: Faults,
    pub(super) nodes: u64,
    pub(super) payments: u64,
    pub(super) blocks_before: u64,
    pub(super) start_block: Option<u64>,
    pub(super) lookback: u32,
    pub(super) concurrency: usize,
    pub(super) happenings: u64,
}

impl Plan {
    pub(super) fn new(seed: u64, random: &mut Random) -> Self {
        let name: ChainName = format!("s-{seed:x}").parse().unwrap();
        let asset = Asset { id: AssetId::native(&name), symbol: "SIM".to_owned(), decimals: 0 };
        let blocks_before = random.between(0, 5);
        let family = if random.chance(30) { ChainFamily::Solana } else { ChainFamily::Evm };
        // The window is of heights: it has to be wider than a gap, or it holds no block but the cursor's.
        let window_min = if family == ChainFamily::Solana { 4 } else { 2 };
        Self {
            name,
            asset,
            family,
            tells_final: random.chance(60),
            block_time_s: [1, 12, 60, 400][random.index(4)],
            window: random.between(2, 8).max(window_min),
            faults: faults(random),
            nodes: random.between(1, 3),
            payments: random.between(1, 3),
            blocks_before,
            start_block: random.chance(50).then(|| random.between(0, blocks_before + 2)),
            lookback: u32::try_from(random.between(0, 3)).unwrap(),
            concurrency: usize::try_from(random.between(1, 4)).unwrap(),
            happenings: random.between(4, 8),
        }
    }

    /// Heights can be empty, as on Solana.
    pub(super) fn has_empty_heights(&self) -> bool {
        self.family == ChainFamily::Solana
    }

    pub(super) fn config(&self) -> WatcherConfig {
        let spec = ChainSpec {
            min_deposits: BTreeMap::new(),
            name: self.name.clone(),
            family: self.family,
            chain_id: Some(CHAIN_ID),
            required_confirmations: 1,
            assets: vec![self.asset.clone()],
        };
        let mut config = WatcherConfig::new(spec, Vec::new());
        config.start_block = self.start_block;
        config.lookback = self.lookback;
        config.reorg_window = u32::try_from(self.window).unwrap();
        config.rpc_options.concurrency = self.concurrency;
        config
    }
}

fn faults(random: &mut Random) -> Faults {
    let share = random.below(100);
    if share < 35 {
        Faults::default()
    } else if share < 75 {
        let forged = if random.chance(40) { 3 } else { 0 };
        Faults { failing: 6, missing: 4, forged, switching: 15, speechless: 10 }
    } else {
        let forged = if random.chance(60) { 10 } else { 0 };
        Faults { failing: 15, missing: 10, forged, switching: 40, speechless: 25 }
    }
}

/// Somebody who is to pay.
#[derive(Clone, Debug)]
pub(super) struct Payer {
    pub(super) id: PaymentId,
    pub(super) address: String,
    pub(super) confirmations: u32,
    /// A payment claims the address; until then it is one that is ready to be claimed.
    pub(super) claimed: bool,
    /// When it was claimed, if that was before anybody watched.
    pub(super) first_at: Option<DateTime<Utc>>,
    pub(super) payment: Payment,
}

impl Payer {
    /// The n-th of its world, whose payment is opened at that moment.
    pub(super) fn new(n: u64, at: DateTime<Utc>, plan: &Plan, random: &mut Random) -> Self {
        let mut bytes = [0; 10];
        bytes.iter_mut().for_each(|byte| *byte = random.next().to_le_bytes()[0]);
        let millis = u64::try_from(at.timestamp_millis()).unwrap();
        let id = PaymentId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid());
        let digits =
            format!("{:032x}", Uuid::from_u128(u128::from(random.next()) << 64 | u128::from(random.next())).as_u128());
        let address = format!("0x{n:08x}{digits}");
        let confirmations = u32::try_from(random.between(1, 4)).unwrap();
        let claimed = random.chance(70);
        let payment = opened(id, &plan.asset, confirmations, &address, at);
        Self { id, address, confirmations, claimed, first_at: claimed.then_some(at), payment }
    }
}

fn opened(payment_id: PaymentId, asset: &Asset, confirmations: u32, address: &str, at: Timestamp) -> Payment {
    let terms = PaymentTerms {
        amount: Money::new(AMOUNT, asset.id.clone()),
        asset: asset.clone(),
        chain: asset.id.chain().parse().unwrap(),
        address: address.to_owned(),
        callback_url: None,
        expires_at: at + Duration::from_secs(3600),
        policy: PaymentPolicy {
            underpayment_tolerance: Percentage::ZERO,
            required_confirmations: confirmations,
            late_deposits: LateDeposits::Accept,
        },
    };
    let (merchant_id, order_id) = (MerchantId::from_uuid(payment_id.as_uuid()), payment_id.to_string());
    let create = CreatePayment { payment_id, merchant_id, order_id, terms, at };
    let mut payment = Payment::default();
    for event in decide(&payment, PaymentCommand::Create(Box::new(create))).unwrap() {
        evolve(&mut payment, event);
    }
    payment
}
