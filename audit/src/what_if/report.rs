//! What a what-if replay found, summed up. Its size does not grow with the ledger, but for the differences listed.

use std::collections::BTreeMap;

use serde::Serialize;
use wopay_domain::ledger::{Account, Layer, postings};
use wopay_domain::money::MoneyError;
use wopay_domain::payment::PaymentEvent;
use wopay_domain::{Asset, AssetId, LedgerEvent, PaymentId, Percentage, Timestamp};

use super::outcome::{Compared, Completion, Difference, Kind};
use super::policy::Overrides;
use crate::replay::{Balance, text};

/// What would differ under the other policy.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The other policy.
    pub policy: Overrides,
    /// Payments created at these positions, both included, were decided again.
    pub from_position: i64,
    /// See `from_position`.
    pub to_position: i64,
    /// The facts are those up to this position …
    pub as_of_position: i64,
    /// … which was recorded at this time.
    pub as_of_time: Timestamp,
    /// How many payments were decided again.
    pub payments: u64,
    /// Of them: nothing differs but, perhaps, moments.
    pub same: u64,
    /// They end as recorded, having announced other things on the way.
    pub other_way: u64,
    /// They end otherwise.
    pub other_end: u64,
    /// The events do not tell how they would end or what they would announce on the way.
    pub uncertain: u64,
    /// Under their own policy they did not give what is recorded, so they are left out of everything else.
    pub not_reproduced: u64,
    /// The first few of those, with the reason.
    pub not_reproduced_examples: Vec<NotReproduced>,
    /// Payments completed for the first time at an earlier moment.
    pub completed_sooner: u64,
    /// At a later moment.
    pub completed_later: u64,
    /// From which end to which other, with the number of payments; uncertain ones are not in it.
    pub transitions: Vec<Transition>,
    /// How often each status was announced.
    pub announcements: Vec<Announcements>,
    /// Posted money of these payments, per kind of account and asset.
    pub money: Vec<MoneyLine>,
    /// What the fee would be, per asset; empty without one.
    pub fees: Vec<FeeLine>,
    /// What limits these figures, in words.
    pub notes: Vec<String>,
    /// The first differences, in order of creation; those that end otherwise, on another way, and uncertain ones.
    pub differences: Vec<Difference>,
    /// The assets in it, to read amounts by.
    pub assets: Vec<Asset>,
}

/// A payment whose facts were not understood.
#[derive(Debug, Clone, Serialize)]
pub struct NotReproduced {
    /// The payment.
    pub payment_id: PaymentId,
    /// What is wrong.
    pub reason: String,
}

/// So many payments that ended like this would end like that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// Status and flags as recorded.
    pub recorded: String,
    /// As they would be.
    pub what_if: String,
    /// How many.
    pub payments: u64,
}

/// How often a status event was announced, and would have been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Announcements {
    /// The event's name.
    pub event: &'static str,
    /// As recorded.
    pub recorded: u64,
    /// With the latest moments that the events allow.
    pub what_if: u64,
    /// With the earliest.
    pub what_if_earliest: u64,
}

/// Posted balance of the considered payments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MoneyLine {
    /// `custody`, `payable`, `payout`, `suspense`, `fees` or `gas`: over all chains and merchants.
    pub account: &'static str,
    /// The asset.
    pub asset: AssetId,
    /// As recorded, minor units.
    pub recorded: String,
    /// With the latest moments that the events allow.
    pub what_if: String,
    /// With the earliest.
    pub what_if_earliest: String,
}

/// A fee's sum in one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeeLine {
    /// The asset.
    pub asset: AssetId,
    /// Confirmed money that the fee is taken of, minor units.
    #[serde(with = "text")]
    pub confirmed: u128,
    /// The fee, rounded down per payment.
    #[serde(with = "text")]
    pub fee: u128,
    /// The rest.
    #[serde(with = "text")]
    pub net: u128,
}

const NOT_REPRODUCED_EXAMPLES_MAX: usize = 10;

/// Sums up payment after payment.
pub(super) struct Summary {
    pub(super) report: Report,
    differences_max: usize,
    transitions: BTreeMap<(String, String), u64>,
    announcements: BTreeMap<&'static str, [u64; 3]>,
    money: BTreeMap<(&'static str, AssetId), [Balance; 3]>,
    fees: BTreeMap<AssetId, (u128, u128)>,
    assets: BTreeMap<AssetId, Asset>,
}

impl Summary {
    pub(super) fn new(report: Report, differences_max: usize) -> Self {
        Self {
            report,
            differences_max,
            transitions: BTreeMap::new(),
            announcements: BTreeMap::new(),
            money: BTreeMap::new(),
            fees: BTreeMap::new(),
            assets: BTreeMap::new(),
        }
    }

    pub(super) fn left_out(&mut self, payment_id: PaymentId, reason: String) {
        self.report.payments = self.report.payments.saturating_add(1);
        self.report.not_reproduced = self.report.not_reproduced.saturating_add(1);
        if self.report.not_reproduced_examples.len() < NOT_REPRODUCED_EXAMPLES_MAX {
            self.report.not_reproduced_examples.push(NotReproduced { payment_id, reason });
        }
    }

    pub(super) fn add(&mut self, compared: Compared) -> Result<(), MoneyError> {
        let Compared { difference, completion, recorded, latest, earliest } = compared;
        self.report.payments = self.report.payments.saturating_add(1);
        self.count(&difference, completion);
        let first = earliest.as_ref().unwrap_or(&latest);
        for (index, events) in [&recorded, &latest.events, &first.events].into_iter().enumerate() {
            self.announce(index, events);
            self.book(index, events)?;
        }
        if let (Some(fee), Some(state)) = (self.report.policy.fee, latest.payment.state()) {
            self.charge(fee, &state.terms.asset.id, state.totals()?.confirmed.minor())?;
        }
        if let Some(state) = latest.payment.state() {
            let asset = &state.terms.asset;
            self.assets.entry(asset.id.clone()).or_insert_with(|| asset.clone());
        }
        if difference.kind != Kind::Same && self.report.differences.len() < self.differences_max {
            self.report.differences.push(difference);
        }
        Ok(())
    }

    fn count(&mut self, difference: &Difference, completion: Completion) {
        let of_kind = match difference.kind {
            Kind::Same => &mut self.report.same,
            Kind::OtherWay => &mut self.report.other_way,
            Kind::OtherEnd => &mut self.report.other_end,
            Kind::Uncertain => &mut self.report.uncertain,
        };
        *of_kind = of_kind.saturating_add(1);
        match completion {
            Completion::Sooner => self.report.completed_sooner = self.report.completed_sooner.saturating_add(1),
            Completion::Later => self.report.completed_later = self.report.completed_later.saturating_add(1),
            Completion::Same | Completion::Other => {}
        }
        if difference.kind == Kind::OtherEnd {
            let ends = (difference.recorded.in_words(), difference.what_if.in_words());
            let payments = self.transitions.entry(ends).or_default();
            *payments = payments.saturating_add(1);
        }
    }

    fn announce(&mut self, index: usize, events: &[PaymentEvent]) {
        for event in events.iter().filter(|event| event.standing().is_some()) {
            if let Some(count) = self.announcements.entry(event.name()).or_default().get_mut(index) {
                *count = count.saturating_add(1);
            }
        }
    }

    fn book(&mut self, index: usize, events: &[PaymentEvent]) -> Result<(), MoneyError> {
        for event in events {
            for posting in postings(&LedgerEvent::Payment(event.clone())) {
                let key = (kind_of(&posting.account), posting.amount.asset().clone());
                if let Some(balance) = self.money.entry(key).or_default().get_mut(index) {
                    balance.add(&posting)?;
                }
            }
        }
        Ok(())
    }

    fn charge(&mut self, fee: Percentage, asset: &AssetId, confirmed: u128) -> Result<(), MoneyError> {
        let sums = self.fees.entry(asset.clone()).or_default();
        let overflow = || MoneyError::Overflow(asset.clone());
        *sums = (
            sums.0.checked_add(confirmed).ok_or_else(overflow)?,
            sums.1.checked_add(fee.of_rounded_down(confirmed)).ok_or_else(overflow)?,
        );
        Ok(())
    }

    pub(super) fn finish(self) -> Report {
        let Self { mut report, transitions, announcements, money, fees, assets, .. } = self;
        report.transitions = transitions
            .into_iter()
            .map(|((recorded, what_if), payments)| Transition { recorded, what_if, payments })
            .collect();
        report.transitions.sort_by_key(|transition| std::cmp::Reverse(transition.payments));
        report.announcements = announcements
            .into_iter()
            .map(|(event, [recorded, what_if, what_if_earliest])| Announcements {
                event,
                recorded,
                what_if,
                what_if_earliest,
            })
            .collect();
        report.money = money.into_iter().map(|((account, asset), sums)| money_line(account, asset, sums)).collect();
        report.fees = fees
            .into_iter()
            .map(|(asset, (confirmed, fee))| FeeLine { asset, confirmed, fee, net: confirmed.saturating_sub(fee) })
            .collect();
        report.assets = assets.into_values().collect();
        report
    }
}

fn money_line(account: &'static str, asset: AssetId, sums: [Balance; 3]) -> MoneyLine {
    let grows_by_debit = matches!(account, "custody" | "gas");
    let [recorded, what_if, what_if_earliest] = sums.map(|balance| {
        let (debit, credit) = balance.sides(Layer::Posted);
        let (grows, shrinks) = if grows_by_debit { (debit, credit) } else { (credit, debit) };
        let sign = if grows < shrinks { "-" } else { "" };
        format!("{sign}{}", grows.abs_diff(shrinks))
    });
    MoneyLine { account, asset, recorded, what_if, what_if_earliest }
}

const fn kind_of(account: &Account) -> &'static str {
    match account {
        Account::Custody(_) => "custody",
        Account::MerchantPayable(_) => "payable",
        Account::MerchantPayout(_) => "payout",
        Account::Suspense => "suspense",
        Account::PlatformFees => "fees",
        Account::PlatformGas => "gas",
    }
}
