use proptest::prelude::*;

use super::*;
use crate::pool::breaker::{Breaker, Permit};

fn opened(begin: Instant) -> Breaker {
    let mut breaker = Breaker::new(begin);
    for failure in 1..=5 {
        assert_eq!(breaker.permit(begin), Permit::Closed);
        assert_eq!(breaker.failed(begin), failure == 5);
    }
    breaker
}

#[test]
fn five_failures_in_a_row_open_it_and_a_success_between_does_not_count() {
    let begin = Instant::now();
    let mut breaker = Breaker::new(begin);
    for _ in 0..4 {
        assert!(!breaker.failed(begin));
    }
    breaker.succeeded(begin);
    for _ in 0..4 {
        assert!(!breaker.failed(begin));
    }
    assert_eq!(breaker.permit(begin), Permit::Closed);
    assert!(breaker.failed(begin));
    assert_eq!(breaker.permit(begin), Permit::Open(seconds(0.5)));
}

#[test]
fn one_call_probes_and_decides() {
    let begin = Instant::now();
    let mut breaker = opened(begin);
    let due = after(begin, 0.5);
    assert_eq!(breaker.begin(due), Permit::Probe);
    assert!(matches!(breaker.begin(due), Permit::Open(_)), "one at a time");
    assert!(breaker.failed(due));
    assert_eq!(breaker.permit(due), Permit::Open(seconds(1.0)), "twice as long");
    let due = after(begin, 1.5);
    assert_eq!(breaker.begin(due), Permit::Probe);
    breaker.succeeded(due);
    assert_eq!(breaker.permit(due), Permit::Closed);
}

#[test]
fn a_probe_that_never_ends_is_given_up() {
    let begin = Instant::now();
    let mut breaker = opened(begin);
    assert_eq!(breaker.begin(after(begin, 1.0)), Permit::Probe);
    assert_eq!(breaker.begin(after(begin, 17.0)), Permit::Probe);
}

#[test]
fn an_hour_of_failures_still_leaves_a_probe_every_five_seconds_and_is_forgiven() {
    let begin = Instant::now();
    let mut breaker = opened(begin);
    let mut probes = 0;
    for second in 1..3600 {
        let now = after(begin, f64::from(second));
        if breaker.begin(now) == Permit::Probe {
            probes += 1;
            breaker.failed(now);
        }
    }
    assert!((700..=730).contains(&probes), "{probes}");
    breaker.begin(after(begin, 3700.0));
    breaker.succeeded(after(begin, 3700.0));
    breaker.succeeded(after(begin, 3800.0));
    for _ in 0..5 {
        breaker.failed(after(begin, 3800.0));
    }
    assert_eq!(breaker.permit(after(begin, 3800.0)), Permit::Open(seconds(0.5)));
}

proptest! {
    /// Whatever happens, it is never shut for longer than a probe may take.
    #[test]
    fn it_always_opens_a_way_back(steps in proptest::collection::vec((0..3_u8, 0..4000_u64), 1..200)) {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(now);
        for (kind, millis) in steps {
            now += Duration::from_millis(millis);
            match kind {
                0 => { breaker.failed(now); }
                1 => breaker.succeeded(now),
                _ => { breaker.begin(now); }
            }
            if let Permit::Open(left) = breaker.permit(now) {
                prop_assert!(left <= Duration::from_secs(15));
            }
        }
        prop_assert!(!matches!(breaker.permit(now + Duration::from_secs(15)), Permit::Open(_)));
    }
}
