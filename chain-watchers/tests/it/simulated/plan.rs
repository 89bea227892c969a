//! What a world is made of, decided by its seed alone.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use url::Url;
use uuid::Uuid;
use wopay_chain_watchers::{Agreement, EvmOptions, Finality, FinalityTag, Traces, WatcherConfig};
use wopay_domain::payment::{
    CreatePayment, LateDeposits, Payment, PaymentCommand, PaymentPolicy, PaymentTerms, decide, evolve,
};
use wopay_domain::{
    Asset, AssetId, ChainFamily, ChainName, ChainSpec, MerchantId, Money, PaymentId, Percentage, Timestamp,
};

use super::nodes::Faults;
use super::random::Random;

pub(super) const CHAIN_ID: u64 = 1;
/// Nodes that must name the same hash for a block with a large deposit.
pub(super) const AGREEING: usize = 2;
/// The contract of the token that there is besides the native coin, over HTTP.
pub(super) const TOKEN: &str = "0x00000000000000000000000000000000000070ce";
pub(super) const TOKEN_DECIMALS: u8 = 6;
/// How long an answer is waited for: while nodes may hang, and when none does.
const IMPATIENT: Duration = Duration::from_millis(300);
const PATIENT: Duration = Duration::from_secs(20);
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
    /// Contracts send money that only balances show, and these are compared.
    pub(super) compares: bool,
    /// Above so much, two nodes must name the same hash.
    pub(super) agreement_above: Option<u64>,
    /// Watching pauses once for so many blocks that they are read in bulk.
    pub(super) is_long: bool,
    /// The nodes are spoken to over HTTP.
    pub(super) rpc: Option<Rpc>,
}

/// What differs where the real source speaks JSON-RPC to simulated nodes.
#[derive(Clone, Debug)]
pub(super) struct Rpc {
    pub(super) token: Asset,
    pub(super) traces: Traces,
    /// How often all nodes are asked for their heads.
    pub(super) compare_every: Duration,
    /// Watchers are restarted before the world settles: what they know of the nodes is not left to time.
    pub(super) forgets: bool,
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
            compares: false,
            agreement_above: None,
            is_long: false,
            rpc: None,
        }
        .with_more(&mut Random::new(!seed))
    }

    /// What worlds did not have from the beginning, so that the older decisions stay as they are.
    fn with_more(mut self, random: &mut Random) -> Self {
        let is_evm = !self.has_empty_heights();
        self.compares = random.chance(20) && is_evm;
        self.is_long = random.chance(2) && is_evm;
        self.agreement_above = (random.chance(25) && self.nodes > 1).then(|| random.between(0, 700));
        self
    }

    /// A world whose nodes are spoken to over HTTP by the real source.
    pub(super) fn over_http(seed: u64, random: &mut Random) -> Self {
        let mut plan = Self::new(seed, random);
        let mut more = Random::new(seed.rotate_left(32));
        plan.family = ChainFamily::Evm;
        let id = AssetId::token(&plan.name, TOKEN).unwrap();
        let traces = [Traces::None, Traces::Debug, Traces::Parity][more.index(3)];
        plan.compares = traces == Traces::None && more.chance(70);
        if plan.compares && more.chance(30) {
            // So many that one call asks for all of their balances.
            plan.payments = 6;
        }
        plan.is_long = more.chance(20);
        plan.faults = [faults(&mut more), heavy(&mut more)][more.index(2)];
        plan.rpc = Some(Rpc {
            token: Asset { id, symbol: "TOK".to_owned(), decimals: TOKEN_DECIMALS },
            traces,
            compare_every: Duration::from_millis([20, 200, 60_000][more.index(3)]),
            forgets: plan.compares || plan.is_long || more.chance(85),
        });
        plan
    }

    /// Heights can be empty, as on Solana.
    pub(super) fn has_empty_heights(&self) -> bool {
        self.family == ChainFamily::Solana
    }

    /// `urls`: of the nodes that are spoken to over HTTP; `is_patient`: what takes long is waited for.
    pub(super) fn config(&self, urls: Vec<Url>, is_patient: bool) -> WatcherConfig {
        let spec = ChainSpec {
            min_deposits: BTreeMap::new(),
            name: self.name.clone(),
            family: self.family,
            chain_id: Some(CHAIN_ID),
            required_confirmations: 1,
            assets: std::iter::once(&self.asset).chain(self.rpc.iter().map(|rpc| &rpc.token)).cloned().collect(),
        };
        let mut config = WatcherConfig::new(spec, urls);
        config.start_block = self.start_block;
        config.lookback = self.lookback;
        config.reorg_window = u32::try_from(self.window).unwrap();
        config.rpc_options.concurrency = self.concurrency;
        config.agreement = self.agreement_above.map(|above| {
            let above = config.chain.assets.iter().map(|asset| (asset.id.clone(), u128::from(above))).collect();
            Agreement { providers: AGREEING, above }
        });
        if let Some(rpc) = &self.rpc {
            config.finality = if self.tells_final { Finality::Tag(FinalityTag::Finalized) } else { Finality::Depth };
            config.evm = EvmOptions { traces: rpc.traces, balances_every: Duration::ZERO, ..EvmOptions::default() };
            config.rpc_options.request_timeout = if is_patient { PATIENT } else { IMPATIENT };
            config.rpc_options.connect_timeout = config.rpc_options.request_timeout;
            // These chains have a time of their own.
            config.rpc_options.head_age_max = Duration::from_secs(u64::from(u32::MAX));
            config.rpc_options.head_lag_max = 2;
            config.rpc_options.compare_every = rpc.compare_every;
        }
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

fn heavy(random: &mut Random) -> Faults {
    let forged = if random.chance(50) { 6 } else { 0 };
    Faults { failing: 10, missing: 10, forged, switching: 0, speechless: 10 }
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
