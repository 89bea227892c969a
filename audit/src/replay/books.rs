//! The books, folded from events alone: what every account holds, per asset and layer.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use wopay_domain::AssetId;
use wopay_domain::ledger::{Account, Layer, Posting, Side};
use wopay_domain::money::MoneyError;

/// What every account holds of every asset. Bounded by their number, not by that of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Books {
    lines: HashMap<(Account, AssetId), Balance>,
}

/// Sums of one account in one asset, minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Balance {
    /// Posted debits.
    #[serde(with = "text")]
    pub posted_debit: u128,
    /// Posted credits.
    #[serde(with = "text")]
    pub posted_credit: u128,
    /// Pending debits, those that were released included.
    #[serde(with = "text")]
    pub pending_debit: u128,
    /// Pending credits, those that were released included.
    #[serde(with = "text")]
    pub pending_credit: u128,
}

/// Debits and credits of one asset in one layer, over all accounts. Equal, or the books are wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrialBalance {
    /// The asset.
    pub asset: AssetId,
    /// `pending` or `posted`.
    pub layer: &'static str,
    /// The sum of all debits, minor units.
    #[serde(with = "text")]
    pub debit: u128,
    /// The sum of all credits, minor units.
    #[serde(with = "text")]
    pub credit: u128,
}

impl TrialBalance {
    /// Whether debits equal credits.
    #[must_use]
    pub const fn is_balanced(&self) -> bool {
        self.debit == self.credit
    }
}

impl Balance {
    /// Adds one line.
    ///
    /// # Errors
    /// When a sum does not fit into 128 bits.
    pub fn add(&mut self, posting: &Posting) -> Result<(), MoneyError> {
        let sum = match (posting.layer, posting.side) {
            (Layer::Posted, Side::Debit) => &mut self.posted_debit,
            (Layer::Posted, Side::Credit) => &mut self.posted_credit,
            (Layer::Pending, Side::Debit) => &mut self.pending_debit,
            (Layer::Pending, Side::Credit) => &mut self.pending_credit,
        };
        let amount = &posting.amount;
        *sum = sum.checked_add(amount.minor()).ok_or_else(|| MoneyError::Overflow(amount.asset().clone()))?;
        Ok(())
    }

    /// Debits and credits of a layer.
    #[must_use]
    pub const fn sides(&self, layer: Layer) -> (u128, u128) {
        match layer {
            Layer::Posted => (self.posted_debit, self.posted_credit),
            Layer::Pending => (self.pending_debit, self.pending_credit),
        }
    }

    /// What an account holds in a layer: the side that makes it grow less the other. `(is_negative, minor units)`.
    #[must_use]
    pub const fn of(&self, account: &Account, layer: Layer) -> Signed {
        let (debit, credit) = self.sides(layer);
        let (grows, shrinks) = match account.normal_side() {
            Side::Debit => (debit, credit),
            Side::Credit => (credit, debit),
        };
        Signed { is_negative: grows < shrinks, minor: grows.abs_diff(shrinks) }
    }
}

/// A signed number of minor units: a balance may be anything that 128 bits hold, on either side of zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// Whether it is below zero.
    pub is_negative: bool,
    /// Its distance from zero.
    pub minor: u128,
}

impl Signed {
    /// As a decimal number with `decimals` digits after the point.
    #[must_use]
    pub fn format(&self, asset: &wopay_domain::Asset) -> String {
        let sign = if self.is_negative { "-" } else { "" };
        format!("{sign}{}", asset.format(self.minor))
    }
}

impl std::fmt::Display for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.is_negative { "-" } else { "" };
        write!(f, "{sign}{}", self.minor)
    }
}

impl Serialize for Signed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Books {
    /// Books an entry, and gives the balance of each of its lines after that line.
    ///
    /// # Errors
    /// When a sum does not fit into 128 bits.
    pub fn post(&mut self, entry: &[Posting]) -> Result<(), MoneyError> {
        entry.iter().try_for_each(|posting| self.post_line(posting).map(drop))
    }

    /// Books one line; the account's balance after it.
    ///
    /// # Errors
    /// When a sum does not fit into 128 bits.
    pub fn post_line(&mut self, posting: &Posting) -> Result<Balance, MoneyError> {
        let key = (posting.account.clone(), posting.amount.asset().clone());
        let balance = self.lines.entry(key).or_default();
        balance.add(posting)?;
        Ok(*balance)
    }

    /// What an account holds of an asset; nothing if it never held any.
    #[must_use]
    pub fn balance(&self, account: &Account, asset: &AssetId) -> Balance {
        self.lines.get(&(account.clone(), asset.clone())).copied().unwrap_or_default()
    }

    /// Sets what an account held before the books begin.
    pub fn open_with(&mut self, account: Account, asset: AssetId, balance: Balance) {
        self.lines.insert((account, asset), balance);
    }

    /// Every account and asset with its balance, in order.
    #[must_use]
    pub fn lines(&self) -> Vec<(&Account, &AssetId, &Balance)> {
        let mut lines: Vec<_> =
            self.lines.iter().map(|((account, asset), balance)| (account, asset, balance)).collect();
        lines.sort_by_key(|(account, asset, _)| (*account, *asset));
        lines
    }

    /// Debits and credits per asset and layer.
    ///
    /// # Errors
    /// When a sum does not fit into 128 bits.
    pub fn trial_balance(&self) -> Result<Vec<TrialBalance>, MoneyError> {
        let mut sums: BTreeMap<(&AssetId, Layer), (u128, u128)> = BTreeMap::new();
        for ((_, asset), balance) in &self.lines {
            for layer in [Layer::Pending, Layer::Posted] {
                let (debit, credit) = balance.sides(layer);
                let sum = sums.entry((asset, layer)).or_default();
                let overflow = || MoneyError::Overflow(asset.clone());
                *sum =
                    (sum.0.checked_add(debit).ok_or_else(overflow)?, sum.1.checked_add(credit).ok_or_else(overflow)?);
            }
        }
        Ok(sums
            .into_iter()
            .map(|((asset, layer), (debit, credit))| TrialBalance {
                asset: asset.clone(),
                layer: layer.as_str(),
                debit,
                credit,
            })
            .collect())
    }
}

/// Minor units as JSON strings: JSON's numbers lose digits.
pub(crate) mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(minor: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(minor)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
