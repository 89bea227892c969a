//! The whole ledger at a moment: counts, balances and the trial balance, folded from events alone.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;
use wopay_domain::deposit::UnmatchedDepositEvent;
use wopay_domain::ledger::{Account, Layer, postings};
use wopay_domain::merchant::MerchantEvent;
use wopay_domain::payment::{PaymentEvent, PaymentStatus};
use wopay_domain::{Asset, AssetId, LedgerEvent, Timestamp};
use wopay_eventbus::log::{EventRef, scan};

use super::Progress;
use super::assets::learn;
use super::books::{Balance, Books, Signed, TrialBalance};
use super::error::ReplayError;
use super::moment::{Moment, resolve};

/// What the ledger was at a moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LedgerReplay {
    /// Events up to this position count.
    pub as_of_position: i64,
    /// When the last of them was recorded; 1970 for an empty ledger.
    pub as_of_time: Timestamp,
    /// How many events there are.
    pub events: u64,
    /// By type.
    pub events_by_type: BTreeMap<String, u64>,
    /// Merchants that were registered.
    pub merchants: u64,
    /// Payments, by status.
    pub payments_by_status: BTreeMap<&'static str, u64>,
    /// Money that was no payment's, by what became of it: `unmatched`, `assigned`, `refunded` or `orphaned`.
    pub deposits_by_state: BTreeMap<&'static str, u64>,
    /// Debits and credits per asset and layer.
    pub trial_balance: Vec<TrialBalance>,
    /// Whether each of them balances, and each entry did.
    pub is_balanced: bool,
    /// Positions of entries that did not balance by themselves, the first few.
    pub unbalanced_positions: Vec<i64>,
    /// What every account holds.
    pub balances: Vec<BalanceLine>,
    /// The assets in it, as the events named them.
    pub assets: Vec<Asset>,
}

/// What an account holds of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BalanceLine {
    /// The account.
    pub account: Account,
    /// The asset.
    pub asset: AssetId,
    /// Sums of debits and credits.
    #[serde(flatten)]
    pub sums: Balance,
    /// What is posted, by the side that makes the account grow; minor units.
    pub posted: Signed,
    /// What is pending, by the same side.
    pub pending: Signed,
}

/// Folds the ledger up to a moment. Memory grows with payments and unmatched deposits (some 40 bytes each) and accounts, not with events.
///
/// # Errors
/// The database fails, an event is missing or cannot be read.
pub async fn ledger(
    pool: &PgPool,
    moment: Option<Moment>,
    progress: impl Fn(Progress),
) -> Result<LedgerReplay, ReplayError> {
    let as_of = resolve(pool, moment).await?;
    let mut fold = LedgerFold::default();
    let mut events = scan(pool, 0, as_of.position);
    while let Some(chunk) = events.next().await? {
        for event in chunk.iter() {
            fold.add(&event)?;
        }
        progress(Progress { position: fold.position, target: as_of.position, pass: 1, passes: 1 });
    }
    fold.finish()
}

/// The ledger as it is folded, event by event.
#[derive(Debug, Default)]
pub struct LedgerFold {
    position: i64,
    recorded_at: Timestamp,
    events_by_type: HashMap<String, u64>,
    merchants: u64,
    statuses: HashMap<[u8; 16], PaymentStatus>,
    deposits: HashMap<[u8; 16], DepositStanding>,
    books: Books,
    unbalanced: Vec<i64>,
    assets: BTreeMap<AssetId, Asset>,
}

/// What became of money that was no payment's.
#[derive(Clone, Copy, Debug, Default)]
struct DepositStanding {
    is_orphaned: bool,
    decision: Option<&'static str>,
}

impl DepositStanding {
    fn take(&mut self, event: &UnmatchedDepositEvent) {
        match event {
            UnmatchedDepositEvent::UnmatchedDepositRecorded(_) => self.is_orphaned = false,
            UnmatchedDepositEvent::UnmatchedDepositOrphaned(_) => self.is_orphaned = true,
            UnmatchedDepositEvent::UnmatchedDepositAssigned(_) => self.decision = Some("assigned"),
            UnmatchedDepositEvent::UnmatchedDepositRefunded(_) => self.decision = Some("refunded"),
        }
    }

    const fn as_str(self) -> &'static str {
        match self.decision {
            _ if self.is_orphaned => "orphaned",
            Some(decision) => decision,
            None => "unmatched",
        }
    }
}

/// Unbalanced entries that are named.
const UNBALANCED_MAX: usize = 100;

impl LedgerFold {
    /// Folds in the next event.
    ///
    /// # Errors
    /// It is not the next one, cannot be read, or sums do not fit.
    pub fn add(&mut self, event: &EventRef<'_>) -> Result<(), ReplayError> {
        let expected = self.position.saturating_add(1);
        if event.position != expected {
            return Err(ReplayError::Gap(expected));
        }
        self.position = event.position;
        self.recorded_at = event.recorded_at();
        match self.events_by_type.get_mut(event.event_type) {
            Some(count) => *count = count.saturating_add(1),
            None => drop(self.events_by_type.insert(event.event_type.to_owned(), 1)),
        }
        let decoded = event.decode()?;
        self.book(&decoded)?;
        learn(&mut self.assets, &decoded);
        match &decoded {
            LedgerEvent::Payment(payment) => self.count_payment(event.aggregate_id, payment),
            LedgerEvent::Merchant(MerchantEvent::MerchantRegistered(_)) => {
                self.merchants = self.merchants.saturating_add(1);
                Ok(())
            }
            LedgerEvent::Deposit(deposit) => {
                self.deposits.entry(id_bytes(event.aggregate_id)?).or_default().take(deposit);
                Ok(())
            }
            LedgerEvent::Merchant(_) | LedgerEvent::Access(_) | LedgerEvent::Chain(_) => Ok(()),
        }
    }

    fn book(&mut self, event: &LedgerEvent) -> Result<(), ReplayError> {
        let entry = postings(event);
        if entry.is_empty() {
            return Ok(());
        }
        let mut own = Books::default();
        own.post(&entry)?;
        let balances = own.trial_balance()?.iter().all(TrialBalance::is_balanced);
        if !balances && self.unbalanced.len() < UNBALANCED_MAX {
            self.unbalanced.push(self.position);
        }
        Ok(self.books.post(&entry)?)
    }

    fn count_payment(&mut self, id: &str, event: &PaymentEvent) -> Result<(), ReplayError> {
        let status = match event {
            PaymentEvent::PaymentCreated(_) => Some(PaymentStatus::Pending),
            event => event.standing().map(|standing| standing.status),
        };
        if let Some(status) = status {
            self.statuses.insert(id_bytes(id)?, status);
        }
        Ok(())
    }

    /// What it came to.
    ///
    /// # Errors
    /// Sums do not fit.
    pub fn finish(self) -> Result<LedgerReplay, ReplayError> {
        let trial_balance = self.books.trial_balance()?;
        let balances = self.books.lines().into_iter().map(|(account, asset, sums)| BalanceLine {
            account: account.clone(),
            asset: asset.clone(),
            sums: *sums,
            posted: sums.of(account, Layer::Posted),
            pending: sums.of(account, Layer::Pending),
        });
        Ok(LedgerReplay {
            as_of_position: self.position,
            as_of_time: self.recorded_at,
            events: u64::try_from(self.position).unwrap_or(0),
            events_by_type: self.events_by_type.into_iter().collect(),
            merchants: self.merchants,
            payments_by_status: count(self.statuses.values().map(|status| status.as_str())),
            deposits_by_state: count(self.deposits.values().map(|standing| standing.as_str())),
            is_balanced: self.unbalanced.is_empty() && trial_balance.iter().all(TrialBalance::is_balanced),
            trial_balance,
            unbalanced_positions: self.unbalanced,
            balances: balances.collect(),
            assets: self.assets.into_values().collect(),
        })
    }
}

fn id_bytes(id: &str) -> Result<[u8; 16], ReplayError> {
    Uuid::parse_str(id).map(Uuid::into_bytes).map_err(|_| ReplayError::Id(id.to_owned()))
}

/// How often each of them is there.
fn count(names: impl Iterator<Item = &'static str>) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for name in names {
        let count: &mut u64 = counts.entry(name).or_default();
        *count = count.saturating_add(1);
    }
    counts
}
