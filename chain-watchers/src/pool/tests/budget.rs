use proptest::prelude::*;

use super::*;
use crate::pool::budget::Budget;

#[test]
fn what_is_spent_comes_back_after_an_hour() {
    let begin = Instant::now();
    let mut budget = Budget::new(100, begin);
    assert!(budget.take(60, begin));
    assert!(budget.take(40, after(begin, 1800.0)));
    assert!(!budget.take(1, after(begin, 1801.0)));
    assert_eq!(budget.left(after(begin, 3599.0)), 0);
    assert_eq!(budget.left(after(begin, 3600.0)), 60);
    assert!(!budget.take(61, after(begin, 3600.0)), "all or nothing");
    assert!(budget.take(60, after(begin, 3600.0)));
    assert_eq!(budget.left(after(begin, 100_000.0)), 100);
}

#[test]
fn the_last_tenth_is_noticed() {
    let begin = Instant::now();
    let mut budget = Budget::new(100, begin);
    budget.take(90, begin);
    assert!(!budget.is_nearly_spent(begin));
    budget.take(1, begin);
    assert!(budget.is_nearly_spent(begin));
}

proptest! {
    /// In no hour (to the minute) are more calls made than the budget has.
    #[test]
    fn no_hour_costs_more(steps in proptest::collection::vec((1..40_u64, 0..600_u64), 1..300)) {
        let begin = Instant::now();
        let mut now = begin;
        let mut budget = Budget::new(100, begin);
        let mut taken: Vec<(Instant, u64)> = Vec::new();
        for (calls, seconds) in steps {
            now += Duration::from_secs(seconds);
            if budget.take(calls, now) {
                taken.push((now, calls));
            }
            let hour = Duration::from_secs(3600 - 60);
            let recent: u64 = taken.iter().filter(|(at, _)| now - *at < hour).map(|(_, calls)| calls).sum();
            prop_assert!(recent <= 100, "{recent}");
        }
    }
}
