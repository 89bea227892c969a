//! Sums of minor units, exact at any width that a ledger can reach.

use std::fmt;

/// 10^38, the largest power of ten in 128 bits.
const LIMB: u128 = 10_u128.pow(38);
/// Its digits.
const LIMB_DIGITS: usize = 38;

/// A sum of minor units. It may be wider than any one amount (128 bits) and below zero. It holds 76 digits: no number of
/// events that a ledger can take overflows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MinorTotal {
    /// False when the sum is zero.
    negative: bool,
    magnitude: Wide,
}

/// `high × 10^38 + low`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Wide {
    high: u128,
    /// Less than 10^38.
    low: u128,
}

impl Wide {
    const fn of(amount: u128) -> Self {
        if amount < LIMB { Self { high: 0, low: amount } } else { Self { high: amount / LIMB, low: amount % LIMB } }
    }

    const fn plus(self, other: Self) -> Self {
        // Both are less than 10^38, and 2^128 is more than 3 × 10^38.
        let low = self.low.saturating_add(other.low);
        let high = self.high.saturating_add(other.high);
        if low < LIMB {
            Self { high, low }
        } else {
            Self { high: high.saturating_add(1), low: low.saturating_sub(LIMB) }
        }
    }

    /// `self - less`, where `less` is not more than `self`.
    const fn without(self, less: Self) -> Self {
        let borrow = self.low < less.low;
        let low = if borrow { self.low.saturating_add(LIMB) } else { self.low };
        let high = self.high.saturating_sub(less.high);
        let high = if borrow { high.saturating_sub(1) } else { high };
        Self { high, low: low.saturating_sub(less.low) }
    }
}

impl fmt::Display for Wide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { high, low } = self;
        if *high == 0 { write!(f, "{low}") } else { write!(f, "{high}{low:0LIMB_DIGITS$}") }
    }
}

impl MinorTotal {
    /// Nothing.
    pub const ZERO: Self = Self { negative: false, magnitude: Wide { high: 0, low: 0 } };

    /// Reads what `numeric::text` gives for a whole number.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (high, low) = digits.split_at(digits.len().saturating_sub(LIMB_DIGITS));
        let high = if high.is_empty() { 0 } else { high.parse().ok()? };
        Some(Self::signed(negative, Wide { high, low: low.parse().ok()? }))
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        if self.negative == other.negative {
            return Self::signed(self.negative, self.magnitude.plus(other.magnitude));
        }
        if self.magnitude >= other.magnitude {
            Self::signed(self.negative, self.magnitude.without(other.magnitude))
        } else {
            Self::signed(other.negative, other.magnitude.without(self.magnitude))
        }
    }

    /// The difference.
    #[must_use]
    pub fn minus(self, less: Self) -> Self {
        self.plus(Self::signed(!less.negative, less.magnitude))
    }

    /// Whether this is nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// Whether this is less than nothing.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.negative
    }

    /// The sum as an amount; `None` if it is negative or wider than 128 bits.
    #[must_use]
    pub const fn as_u128(&self) -> Option<u128> {
        if self.negative {
            return None;
        }
        match self.magnitude.high.checked_mul(LIMB) {
            Some(high) => high.checked_add(self.magnitude.low),
            None => None,
        }
    }

    /// A decimal string with all `decimals` digits after the point, for example `100.500000`. Exact at any width.
    #[must_use]
    pub fn format(&self, decimals: u8) -> String {
        let sign = if self.negative { "-" } else { "" };
        let digits = self.magnitude.to_string();
        let decimals = usize::from(decimals);
        if decimals == 0 {
            return format!("{sign}{digits}");
        }
        let width = decimals.saturating_add(1);
        let digits = format!("{digits:0>width$}");
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(decimals));
        format!("{sign}{whole}.{fraction}")
    }

    fn signed(negative: bool, magnitude: Wide) -> Self {
        Self { negative: negative && magnitude != Wide::default(), magnitude }
    }
}

impl From<u128> for MinorTotal {
    fn from(amount: u128) -> Self {
        Self { negative: false, magnitude: Wide::of(amount) }
    }
}

impl fmt::Display for MinorTotal {
    /// Minor units, as a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.negative { "-" } else { "" })?;
        self.magnitude.fmt(f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test reports by panicking")]
mod tests {
    use super::*;

    fn total(text: &str) -> MinorTotal {
        MinorTotal::parse(text).unwrap()
    }

    fn sum(came: &[u128], went: &[u128]) -> String {
        let came = came.iter().fold(MinorTotal::ZERO, |sum, amount| sum.plus(MinorTotal::from(*amount)));
        went.iter().fold(came, |sum, amount| sum.minus(MinorTotal::from(*amount))).to_string()
    }

    #[test]
    fn totals_are_shown_exactly() {
        assert_eq!(total("100500000").format(6), "100.500000");
        assert_eq!(total("7").format(18), "0.000000000000000007");
        assert_eq!(total("-7").format(2), "-0.07");
        assert_eq!(total("42").format(0), "42");
        let wide = "680564733841876926926749214863536422910";
        assert_eq!(total(wide).to_string(), wide);
        assert_eq!(total(wide).as_u128(), None);
        assert_eq!(total(&u128::MAX.to_string()).as_u128(), Some(u128::MAX));
        assert_eq!(total("-1").as_u128(), None);
        assert_eq!(total("12").as_u128(), Some(12));
        assert_eq!(total("-0"), MinorTotal::ZERO);
        for wrong in ["1.0", "-", "", "+1", &"9".repeat(90)] {
            assert_eq!(MinorTotal::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nothing_is_zero() {
        assert_eq!(sum(&[], &[]), "0");
        assert_eq!(sum(&[u128::MAX, 7], &[7, u128::MAX]), "0");
        assert!(total("5").minus(total("5")).is_zero());
    }

    #[test]
    fn sums_are_wider_than_128_bits_and_may_be_negative() {
        let wide = "1020847100762815390390123822295304634365";
        assert_eq!(sum(&[u128::MAX; 3], &[]), wide);
        assert_eq!(sum(&[], &[u128::MAX; 3]), format!("-{wide}"));
        assert_eq!(sum(&[u128::MAX; 3], &[u128::MAX; 2]), u128::MAX.to_string());
        assert_eq!(sum(&[5], &[u128::MAX]), format!("-{}", u128::MAX - 5));
    }

    #[test]
    fn limbs_carry_and_borrow() {
        assert_eq!(sum(&[LIMB - 1, 1], &[]), LIMB.to_string());
        assert_eq!(sum(&[LIMB], &[1]), (LIMB - 1).to_string());
        assert_eq!(sum(&[LIMB, 1], &[]), (LIMB + 1).to_string());
    }
}
