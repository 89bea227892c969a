//! A shop street in miniature: merchants whose customers pay, overpay, pay in parts or not at all, on several chains, some
//! through a reorganization, some refunded. Every event is the domain's own answer to a command, so streams are such as the
//! gateway writes them, interleaved as they would be.

use anyhow::{Context as _, Result};
use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::DomainEvent as _;
use uuid::Uuid;
use wopay_domain::merchant::{ApiKeyIssued, MerchantEvent, MerchantPolicy, MerchantRegistered};
use wopay_domain::payment::{
    CompleteRefund, CreatePayment, DepositReport, DepositStage, LateDeposits, Payment, PaymentCommand, PaymentEvent,
    PaymentPolicy, PaymentTerms, RequestRefund, decide, evolve,
};
use wopay_domain::{
    Actor, ApiKeyId, Asset, AssetId, BlockRef, ChainName, DepositKey, DepositLeg, MerchantId, Metadata, Money,
    PaymentId, Percentage, RefundId, SecretRef, Timestamp,
};

use super::random::Random;

/// Merchants, and who of them has how many customers: the first few most.
pub(crate) const MERCHANTS: usize = 200;
/// How long the history lasts.
const DAYS: i64 = 90;
/// Payments that are under way at a time take about this long from step to step.
const STEP_SECONDS: i64 = 300;
const EXPIRES_IN_SECONDS: i64 = 3600;
const CONFIRMATIONS: u32 = 12;
/// Symbol, contract and decimals.
type Token = (&'static str, &'static str, u8);
/// (chain, seconds of a block, native coin, tokens).
const CHAINS: [(&str, u64, &str, [Token; 2]); 3] = [
    (
        "ethereum",
        12,
        "ETH",
        [
            ("USDT", "0xdac17f958d2ee523a2206206994597c13d831ec7", 6),
            ("USDC", "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48", 6),
        ],
    ),
    (
        "bsc",
        1,
        "BNB",
        [
            ("USDT", "0x55d398326f99059ff775485246999027b3197955", 18),
            ("USDC", "0x8ac76a51cc950d9822d68b83fe1ad97b32cd580d", 18),
        ],
    ),
    (
        "polygon",
        2,
        "POL",
        [
            ("USDT", "0xc2132d05d31c914a87c6611c10748aeb04b58e8f", 6),
            ("USDC", "0x3c499c542cef5e3811e1192ce70d8cc03d5c3359", 6),
        ],
    ),
];

/// An event as it will stand in the ledger, but for its position.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) aggregate_type: &'static str,
    pub(crate) aggregate_id: String,
    pub(crate) sequence: i64,
    pub(crate) event_type: &'static str,
    pub(crate) event_version: String,
    pub(crate) payload: String,
    pub(crate) metadata: String,
    pub(crate) at: Timestamp,
}

/// A row of `claims`.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) kind: &'static str,
    pub(crate) key: String,
    pub(crate) aggregate_id: String,
    pub(crate) detail: Option<String>,
}

/// Where events come from, without an end.
#[derive(Debug)]
pub(crate) struct World {
    random: Random,
    now: Timestamp,
    step: TimeDelta,
    markets: Vec<Market>,
    merchants: Vec<(MerchantId, ApiKeyId)>,
    open: Vec<Open>,
    open_max: usize,
    payments: u64,
    revision: u64,
}

/// An asset on its chain.
#[derive(Clone, Debug)]
struct Market {
    chain: ChainName,
    asset: Asset,
    block_seconds: i64,
}

/// A payment under way.
#[derive(Debug)]
struct Open {
    id: PaymentId,
    sequence: i64,
    payment: Payment,
    market: usize,
    amount: u128,
    deposits: Vec<DepositReport>,
    /// What comes next stands last.
    plan: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Money for so many hundredths of the amount is in a block.
    Seen(u128),
    /// The deposit of this number is deep enough.
    Confirmed(usize),
    /// Its block is gone.
    Orphaned(usize),
    /// It is in a block again.
    Again(usize),
    Expire,
    RequestRefund,
    CompleteRefund,
}

impl World {
    /// A history that will have about so many events over its whole time.
    pub(crate) fn new(seed: u64, events: u64) -> Result<Self> {
        let mut random = Random::new(seed);
        let mut markets = Vec::new();
        for (name, block_seconds, native, tokens) in CHAINS {
            let chain: ChainName = name.parse()?;
            let mut assets = vec![Asset { id: AssetId::native(&chain), symbol: native.to_owned(), decimals: 18 }];
            for (symbol, contract, decimals) in tokens {
                assets.push(Asset { id: AssetId::token(&chain, contract)?, symbol: symbol.to_owned(), decimals });
            }
            let block_seconds = i64::try_from(block_seconds)?;
            markets.extend(assets.into_iter().map(|asset| Market { chain: chain.clone(), asset, block_seconds }));
        }
        // A command makes about two events; the steps are between nothing and twice the average.
        let commands = i64::try_from(events.max(2) / 2)?;
        let step_us = TimeDelta::days(DAYS).num_microseconds().context("so many days have microseconds")? / commands;
        let open_max = (STEP_SECONDS * 1_000_000 / step_us.max(1)).clamp(16, 20_000);
        let now = Utc::now() - TimeDelta::days(DAYS);
        let now = DateTime::from_timestamp_micros(now.timestamp_micros()).context("now is a time")?;
        let ids = (0..MERCHANTS).map(|_| (uuid(now, &mut random), uuid(now, &mut random)));
        let merchants = ids.map(|(id, key)| (MerchantId::from_uuid(id), ApiKeyId::from_uuid(key))).collect();
        Ok(Self {
            random,
            now,
            step: TimeDelta::microseconds(step_us),
            markets,
            merchants,
            open: Vec::new(),
            open_max: usize::try_from(open_max)?,
            payments: 0,
            revision: 0,
        })
    }

    /// The merchants' registration, with which the history begins.
    pub(crate) fn register(&mut self, events: &mut Vec<Written>) -> Result<()> {
        for (merchant_id, key_id) in self.merchants.clone() {
            let at = self.now;
            let mut secret = || SecretRef::from_uuid(uuid(at, &mut self.random));
            let policy = MerchantPolicy::default();
            let both = [
                MerchantEvent::MerchantRegistered(MerchantRegistered { merchant_id, profile: secret(), policy, at }),
                MerchantEvent::ApiKeyIssued(ApiKeyIssued {
                    key_id,
                    prefix: "wk_bench".to_owned(),
                    secret: secret(),
                    at,
                }),
            ];
            let metadata = Metadata { actor: Actor::Operator, request_id: None, command_id: None };
            for (sequence, event) in (1..).zip(both) {
                events.push(Written {
                    aggregate_type: wopay_domain::merchant::AGGREGATE_TYPE,
                    aggregate_id: merchant_id.to_string(),
                    sequence,
                    event_type: event.name(),
                    event_version: event.event_version(),
                    payload: serde_json::to_string(&event)?,
                    metadata: serde_json::to_string(&metadata.to_map())?,
                    at,
                });
            }
        }
        Ok(())
    }

    /// The next command, of a payment that is new or under way: its events and claims.
    pub(crate) fn advance(&mut self, events: &mut Vec<Written>, claims: &mut Vec<Claimed>) -> Result<()> {
        let step_us = u64::try_from(self.step.num_microseconds().unwrap_or(0)).unwrap_or(0);
        let passed = self.random.below(step_us.saturating_mul(2).saturating_add(1));
        self.now += TimeDelta::microseconds(i64::try_from(passed)?);
        if self.open.len() < self.open_max {
            return self.create(events, claims);
        }
        let index = usize::try_from(self.random.below(u64::try_from(self.open.len())?))?;
        let Some(step) = self.open.get_mut(index).and_then(|open| open.plan.pop()) else {
            self.open.swap_remove(index);
            return self.create(events, claims);
        };
        self.take(index, step, events)
    }

    /// Merchants' ids, those with the most payments first.
    pub(crate) fn merchants(&self) -> impl Iterator<Item = MerchantId> {
        self.merchants.iter().map(|(id, _)| *id)
    }

    /// Assets that are paid with.
    pub(crate) fn assets(&self) -> impl Iterator<Item = &AssetId> {
        self.markets.iter().map(|market| &market.asset.id)
    }

    fn create(&mut self, events: &mut Vec<Written>, claims: &mut Vec<Claimed>) -> Result<()> {
        // The smaller of two dice: the first merchants have the most customers.
        let merchants = u64::try_from(self.merchants.len())?;
        let merchant = self.random.below(merchants).min(self.random.below(merchants));
        let (merchant_id, key) = self.merchants[usize::try_from(merchant)?];
        let market = usize::try_from(self.random.below(u64::try_from(self.markets.len())?))?;
        let Market { chain, asset, .. } = self.markets[market].clone();
        let cents = u128::from(self.random.below(50_000) + 100);
        let amount = cents * 10_u128.pow(u32::from(asset.decimals) - 2);
        let id = PaymentId::from_uuid(uuid(self.now, &mut self.random));
        self.payments += 1;
        let create = CreatePayment {
            payment_id: id,
            merchant_id,
            order_id: format!("order-{:010}", self.payments),
            terms: PaymentTerms {
                amount: Money::new(amount, asset.id.clone()),
                asset,
                chain: chain.clone(),
                address: self.random.hex(40),
                callback_url: Some(crate::sample::CALLBACK_URL.to_owned()),
                expires_at: self.now + TimeDelta::seconds(EXPIRES_IN_SECONDS),
                policy: PaymentPolicy {
                    underpayment_tolerance: Percentage::ZERO,
                    required_confirmations: CONFIRMATIONS,
                    late_deposits: LateDeposits::Accept,
                },
            },
            at: self.now,
        };
        let aggregate_id = id.to_string();
        claims.push(Claimed {
            kind: "order",
            key: format!("{merchant_id}/{}", create.order_id),
            aggregate_id: aggregate_id.clone(),
            detail: None,
        });
        claims.push(Claimed {
            kind: "deposit:evm",
            key: create.terms.address.clone(),
            aggregate_id,
            detail: Some(format!(r#"{{"chain":"{chain}","required_confirmations":{CONFIRMATIONS}}}"#)),
        });
        let plan = self.plan();
        let payment = Payment::default();
        self.open.push(Open { id, sequence: 0, payment, market, amount, deposits: Vec::new(), plan });
        let metadata = Metadata {
            actor: Actor::Merchant { merchant: merchant_id, key },
            request_id: Some(uuid(self.now, &mut self.random).to_string()),
            command_id: None,
        };
        let index = self.open.len() - 1;
        self.execute(index, PaymentCommand::Create(Box::new(create)), &metadata, events)
    }

    /// What will happen to a payment, the last first.
    fn plan(&mut self) -> Vec<Step> {
        let mut plan = match self.random.below(100) {
            0..62 => vec![Step::Seen(100), Step::Confirmed(0)],
            62..82 => vec![Step::Expire],
            82..91 => vec![Step::Seen(40), Step::Seen(60), Step::Confirmed(0), Step::Confirmed(1)],
            91..95 => vec![Step::Seen(110), Step::Confirmed(0)],
            95..97 => vec![Step::Seen(30), Step::Confirmed(0), Step::Expire],
            97..98 => vec![Step::Seen(100), Step::Orphaned(0), Step::Again(0), Step::Confirmed(0)],
            _ => vec![Step::Seen(100), Step::Confirmed(0), Step::RequestRefund, Step::CompleteRefund],
        };
        plan.reverse();
        plan
    }

    fn take(&mut self, index: usize, step: Step, events: &mut Vec<Written>) -> Result<()> {
        let command = match step {
            Step::Seen(hundredths) => self.seen(index, hundredths)?,
            Step::Confirmed(number) => {
                self.report(index, number, DepositStage::Confirmed { confirmations: CONFIRMATIONS }, false)?
            }
            Step::Orphaned(number) => self.report(index, number, DepositStage::Orphaned, false)?,
            Step::Again(number) => self.report(index, number, DepositStage::Seen { confirmations: 1 }, true)?,
            Step::Expire => PaymentCommand::Expire { at: self.now + TimeDelta::seconds(EXPIRES_IN_SECONDS) },
            Step::RequestRefund => PaymentCommand::RequestRefund(Box::new(RequestRefund {
                refund_id: RefundId::from_uuid(self.open[index].id.as_uuid()),
                amount: Money::new(self.open[index].amount / 2, self.asset(index)),
                to: self.random.hex(40),
                reason: "returned".to_owned(),
                at: self.now,
            })),
            Step::CompleteRefund => PaymentCommand::CompleteRefund(Box::new(CompleteRefund {
                refund_id: RefundId::from_uuid(self.open[index].id.as_uuid()),
                transaction: self.random.hex(64),
                network_fee: None,
                at: self.now,
            })),
        };
        let chain = &self.markets[self.open[index].market].chain;
        let (role, command_id) = match &command {
            PaymentCommand::ObserveDeposit(report) => {
                (format!("watchers/{chain}"), Some(format!("{}@{}", report.deposit, report.revision)))
            }
            _ => ("scheduler".to_owned(), None),
        };
        let metadata = Metadata { actor: Actor::System(role), request_id: None, command_id };
        self.execute(index, command, &metadata, events)
    }

    fn asset(&self, index: usize) -> AssetId {
        self.markets[self.open[index].market].asset.id.clone()
    }

    fn seen(&mut self, index: usize, hundredths: u128) -> Result<PaymentCommand> {
        let is_native = self.asset(index).contract().is_none();
        let ordinal = u32::try_from(self.random.below(4))?;
        let report = DepositReport {
            deposit: DepositKey {
                chain: self.markets[self.open[index].market].chain.clone(),
                transaction: self.random.hex(64),
                leg: if is_native { DepositLeg::Native } else { DepositLeg::Log(ordinal) },
            },
            revision: 0,
            amount: Money::new(self.open[index].amount * hundredths / 100, self.asset(index)),
            from: Some(self.random.hex(40)),
            block: self.block(index)?,
            stage: DepositStage::Seen { confirmations: 1 },
            at: self.now,
        };
        self.open[index].deposits.push(report);
        let last = self.open[index].deposits.len() - 1;
        self.report(index, last, DepositStage::Seen { confirmations: 1 }, false)
    }

    fn report(&mut self, index: usize, number: usize, stage: DepositStage, moved: bool) -> Result<PaymentCommand> {
        let block = if moved { Some(self.block(index)?) } else { None };
        self.revision += 1;
        let (revision, at) = (self.revision, self.now);
        let deposit = self.open[index].deposits.get_mut(number).context("plans name deposits that were seen")?;
        deposit.block = block.unwrap_or_else(|| deposit.block.clone());
        Ok(PaymentCommand::ObserveDeposit(Box::new(DepositReport { revision, at, stage, ..deposit.clone() })))
    }

    fn block(&mut self, index: usize) -> Result<BlockRef> {
        let seconds = self.markets[self.open[index].market].block_seconds;
        let number = self.now.timestamp() / seconds;
        let time = DateTime::from_timestamp(number * seconds, 0).context("blocks have times")?;
        Ok(BlockRef { number: u64::try_from(number)?, hash: self.random.hex(64), time })
    }

    fn execute(
        &mut self,
        index: usize,
        command: PaymentCommand,
        metadata: &Metadata,
        events: &mut Vec<Written>,
    ) -> Result<()> {
        let open = &mut self.open[index];
        let metadata = serde_json::to_string(&metadata.to_map())?;
        for event in decide(&open.payment, command)? {
            open.sequence += 1;
            events.push(Written {
                aggregate_type: wopay_domain::payment::AGGREGATE_TYPE,
                aggregate_id: open.id.to_string(),
                sequence: open.sequence,
                event_type: PaymentEvent::name(&event),
                event_version: event.event_version(),
                payload: serde_json::to_string(&event)?,
                metadata: metadata.clone(),
                at: self.now,
            });
            evolve(&mut open.payment, event);
        }
        Ok(())
    }
}

/// A UUID of version 7.
fn uuid(at: Timestamp, random: &mut Random) -> Uuid {
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random.ten_bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::World;

    #[test]
    fn a_history_has_every_kind_of_event_in_streams_without_gaps() {
        let mut world = World::new(1, 20_000).expect("a world");
        let (mut events, mut claims) = (Vec::new(), Vec::new());
        world.register(&mut events).expect("merchants");
        while events.len() < 20_000 {
            world.advance(&mut events, &mut claims).expect("a command that is accepted");
        }
        let mut streams = BTreeMap::new();
        let mut kinds = BTreeMap::new();
        for event in &events {
            let last = streams.entry(&event.aggregate_id).or_insert(0);
            *last += 1;
            assert_eq!(event.sequence, *last);
            *kinds.entry(event.event_type).or_insert(0) += 1;
        }
        assert!(events.windows(2).all(|pair| pair[0].at <= pair[1].at));
        assert!(claims.len() > 4_000, "{}", claims.len());
        for kind in ["PaymentCompleted", "PaymentExpired", "DepositReincluded", "DepositOrphaned", "RefundCompleted"] {
            assert!(kinds.contains_key(kind), "{kinds:?}");
        }
    }
}
