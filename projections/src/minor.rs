//! Sums of minor units out of Postgres: as digits, so that nothing is ever rounded.

use std::fmt;

/// A sum of minor units. It may be wider than any one amount (128 bits) and, once money goes out, below zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinorTotal {
    negative: bool,
    digits: String,
}

impl MinorTotal {
    /// Reads what `numeric::text` gives for a whole number.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        whole.then(|| Self { negative, digits: digits.to_owned() })
    }

    /// The sum as an amount; `None` if it is negative or wider than 128 bits.
    #[must_use]
    pub fn as_u128(&self) -> Option<u128> {
        if self.negative { None } else { self.digits.parse().ok() }
    }

    /// A decimal string with all `decimals` digits after the point, for example `100.500000`. Exact at any width.
    #[must_use]
    pub fn format(&self, decimals: u8) -> String {
        let sign = if self.negative { "-" } else { "" };
        let decimals = usize::from(decimals);
        if decimals == 0 {
            return format!("{sign}{}", self.digits);
        }
        let width = decimals.saturating_add(1);
        let digits = format!("{:0>width$}", self.digits);
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(decimals));
        format!("{sign}{whole}.{fraction}")
    }
}

impl fmt::Display for MinorTotal {
    /// Minor units, as a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.negative { "-" } else { "" })?;
        f.write_str(&self.digits)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test reports by panicking")]
mod tests {
    use super::*;

    #[test]
    fn totals_are_shown_exactly() {
        let total = |text| MinorTotal::parse(text).unwrap();
        assert_eq!(total("100500000").format(6), "100.500000");
        assert_eq!(total("7").format(18), "0.000000000000000007");
        assert_eq!(total("-7").format(2), "-0.07");
        assert_eq!(total("42").format(0), "42");
        let wide = "680564733841876926926749214863536422910";
        assert_eq!(total(wide).to_string(), wide);
        assert_eq!(total(wide).as_u128(), None);
        assert_eq!(total("-1").as_u128(), None);
        assert_eq!(total("12").as_u128(), Some(12));
        assert_eq!(MinorTotal::parse("1.0"), None);
        assert_eq!(MinorTotal::parse("-"), None);
    }
}
