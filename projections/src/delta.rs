//! Net changes of amounts, wider than any one amount.

use std::fmt;

use crate::minor::MinorTotal;

/// The net change of an amount over a batch: what came less what was taken back. Shown as a whole number for `numeric`.
///
/// What passes may be wider than what stays: a report of money that is gone already is recorded as its coming and its
/// going, and the rules check the sum that stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delta(MinorTotal);

impl Delta {
    /// More.
    pub(crate) fn add(&mut self, amount: u128) {
        self.0 = self.0.plus(MinorTotal::from(amount));
    }

    /// Less.
    pub(crate) fn subtract(&mut self, amount: u128) {
        self.0 = self.0.minus(MinorTotal::from(amount));
    }
}

impl fmt::Display for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
