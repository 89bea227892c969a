//! Net changes of amounts, wider than any one amount.

use std::fmt;

/// 10^38, the largest power of ten in 128 bits.
const LIMB: u128 = 10_u128.pow(38);

/// A sum of amounts in two limbs: `high × 10^38 + low`. No number of events that a ledger can hold overflows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Sum {
    high: u128,
    /// Less than 10^38.
    low: u128,
}

impl Sum {
    fn add(&mut self, amount: u128) {
        // Both are less than 10^38, and 2^128 is more than 3 × 10^38.
        let low = self.low.saturating_add(amount % LIMB);
        self.low = low % LIMB;
        self.high = self.high.saturating_add(amount / LIMB).saturating_add(low / LIMB);
    }

    /// `self - less`, where `less` is not more than `self`.
    fn without(self, less: Self) -> Self {
        let borrow = self.low < less.low;
        let low = if borrow { self.low.saturating_add(LIMB) } else { self.low };
        let high = self.high.saturating_sub(less.high).saturating_sub(u128::from(borrow));
        Self { high, low: low.saturating_sub(less.low) }
    }
}

/// The net change of an amount over a batch: what came less what was taken back. Shown as a whole number for `numeric`.
///
/// What passes may be wider than what stays: a report of money that is gone already is recorded as its coming and its
/// going, and the rules check the sum that stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    came: Sum,
    went: Sum,
}

impl Delta {
    /// More.
    pub(crate) fn add(&mut self, amount: u128) {
        self.came.add(amount);
    }

    /// Less.
    pub(crate) fn subtract(&mut self, amount: u128) {
        self.went.add(amount);
    }
}

impl fmt::Display for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sum { high, low } = if self.came >= self.went {
            self.came.without(self.went)
        } else {
            f.write_str("-")?;
            self.went.without(self.came)
        };
        if high == 0 { write!(f, "{low}") } else { write!(f, "{high}{low:038}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(came: &[u128], went: &[u128]) -> String {
        let mut delta = Delta::default();
        came.iter().for_each(|amount| delta.add(*amount));
        went.iter().for_each(|amount| delta.subtract(*amount));
        delta.to_string()
    }

    #[test]
    fn nothing_is_zero() {
        assert_eq!(shown(&[], &[]), "0");
        assert_eq!(shown(&[u128::MAX, 7], &[7, u128::MAX]), "0");
    }

    #[test]
    fn sums_are_wider_than_128_bits_and_may_be_negative() {
        let wide = "1020847100762815390390123822295304634365";
        assert_eq!(shown(&[u128::MAX; 3], &[]), wide);
        assert_eq!(shown(&[], &[u128::MAX; 3]), format!("-{wide}"));
        assert_eq!(shown(&[u128::MAX; 3], &[u128::MAX; 2]), u128::MAX.to_string());
        assert_eq!(shown(&[5], &[u128::MAX]), format!("-{}", u128::MAX - 5));
    }

    #[test]
    fn limbs_carry_and_borrow() {
        assert_eq!(shown(&[LIMB - 1, 1], &[]), LIMB.to_string());
        assert_eq!(shown(&[LIMB], &[1]), (LIMB - 1).to_string());
        assert_eq!(shown(&[LIMB, 1], &[]), (LIMB + 1).to_string());
    }
}
