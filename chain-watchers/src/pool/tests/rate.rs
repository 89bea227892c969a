use proptest::prelude::*;

use super::*;
use crate::pool::rate::Rate;

const NO_WAIT: Duration = Duration::ZERO;

/// Asks as much as is let through, in steps of 10 ms; how many calls that were.
fn flood(rate: &mut Rate, begin: Instant, from: f64, for_seconds: f64) -> u32 {
    let mut calls = 0_u32;
    let mut passed = from;
    while passed < from + for_seconds {
        let now = after(begin, passed);
        while calls < 1_000_000 && rate.take(1, NO_WAIT, now).is_ok() {
            rate.answered(now);
            calls += 1;
        }
        passed += 0.01;
    }
    calls
}

#[test]
fn without_a_refusal_there_is_no_limit() {
    let begin = Instant::now();
    let mut rate = Rate::new(begin);
    for call in 0..1000 {
        assert_eq!(rate.take(1, NO_WAIT, after(begin, f64::from(call) / 1000.0)), Ok(NO_WAIT));
    }
    assert_eq!(rate.per_second(), None);
}

#[test]
fn a_refusal_halves_what_was_asked_and_the_rate_grows_again() {
    let begin = Instant::now();
    let mut rate = Rate::new(begin);
    for call in 0..200 {
        rate.take(1, NO_WAIT, after(begin, f64::from(call) / 100.0)).unwrap();
    }
    rate.refused(None, after(begin, 2.0));
    let halved = rate.per_second().unwrap();
    assert!((45.0..=55.0).contains(&halved), "{halved}");
    let asked = flood(&mut rate, begin, 3.0, 10.0);
    assert!((450..=700).contains(&asked), "{asked}");
    let grown = rate.per_second().unwrap();
    assert!(grown > halved + 15.0 && grown < halved + 25.0, "two calls a second each second: {grown}");
}

#[test]
fn refusals_of_calls_on_their_way_together_are_one() {
    let begin = Instant::now();
    let mut rate = Rate::new(begin);
    for _ in 0..64 {
        rate.take(1, NO_WAIT, begin).unwrap();
    }
    for call in 0..8 {
        rate.refused(None, after(begin, f64::from(call) / 100.0));
    }
    assert!((rate.per_second().unwrap() - 32.0).abs() < 1.0);
}

#[test]
fn pauses_without_advice_double_and_end_with_an_answer() {
    let begin = Instant::now();
    let mut rate = Rate::new(begin);
    let mut passed = 0.0;
    for expected in [0.25, 0.5, 1.0, 2.0] {
        let now = after(begin, passed);
        for _ in 0..8 {
            rate.refused(None, now);
        }
        assert_eq!(rate.blocked_for(now), seconds(expected), "those on their way together are one");
        passed += expected;
    }
    rate.answered(after(begin, 4.0));
    rate.refused(None, after(begin, 5.0));
    assert_eq!(rate.blocked_for(after(begin, 5.0)), seconds(0.25));
}

#[test]
fn retry_after_is_honoured_and_has_a_limit() {
    let begin = Instant::now();
    let mut rate = Rate::new(begin);
    rate.refused(Some(seconds(30.0)), begin);
    assert_eq!(rate.take(1, seconds(2.0), after(begin, 1.0)), Err(seconds(29.0)));
    // A shorter advice does not take the longer one back.
    rate.refused(Some(seconds(1.0)), after(begin, 2.0));
    assert_eq!(rate.blocked_for(after(begin, 2.0)), seconds(28.0));
    assert!(rate.take(1, seconds(2.0), after(begin, 30.0)).is_ok());
    rate.refused(Some(Duration::MAX), after(begin, 31.0));
    assert_eq!(rate.blocked_for(after(begin, 31.0)), Duration::from_secs(3600));
}

#[test]
fn a_batch_goes_into_the_red() {
    let begin = Instant::now();
    let mut rate = Rate::new(begin);
    for _ in 0..20 {
        rate.take(1, NO_WAIT, begin).unwrap();
    }
    rate.refused(Some(NO_WAIT), begin);
    assert!(rate.take(100, NO_WAIT, after(begin, 1.0)).is_ok());
    let wait = rate.take(1, NO_WAIT, after(begin, 1.1)).unwrap_err();
    assert!(wait > seconds(6.0) && wait < seconds(10.0), "{wait:?}");
}

#[test]
fn what_was_refused_is_not_owed() {
    let begin = Instant::now();
    let mut rate = Rate::new(begin);
    for _ in 0..8 {
        rate.take(128, NO_WAIT, begin).unwrap();
    }
    for second in 0..6 {
        rate.refused(None, after(begin, f64::from(second) * 1.01));
    }
    let now = after(begin, 6.0);
    assert!(rate.per_second().unwrap() < 20.0);
    assert_eq!(rate.calls_in(1), Some(16));
    let pause = rate.blocked_for(now);
    let wait = rate.take(16, pause, now).map(|wait| wait.max(pause));
    assert_eq!(wait, Ok(pause));
    rate.refused(Some(NO_WAIT), after(begin, 20.0));
    assert!(rate.wait(after(begin, 20.0)) <= seconds(10.0));
    assert!(rate.wait(after(begin, 20.0)).saturating_sub(rate.blocked_for(after(begin, 20.0))) <= seconds(1.2));
}

proptest! {
    /// Whatever happens, the rate stays within its bounds, waits are finite, and patience is rewarded.
    #[test]
    fn any_history_leaves_a_rate_that_can_be_used(steps in proptest::collection::vec((0..4_u8, 0..5000_u32, 1..50_u32), 1..200)) {
        let begin = Instant::now();
        let mut now = begin;
        let mut rate = Rate::new(begin);
        for (kind, millis, calls) in steps {
            now += Duration::from_millis(u64::from(millis));
            match kind {
                0 => rate.refused(None, now),
                1 => rate.refused(Some(Duration::from_millis(u64::from(millis))), now),
                2 => rate.answered(now),
                _ => { let _ = rate.take(calls, Duration::from_secs(1), now); }
            }
            prop_assert!(rate.per_second().is_none_or(|per_second| (0.5..10_000.0).contains(&per_second)));
            prop_assert!(rate.wait(now) <= Duration::from_secs(200), "{:?}", rate.wait(now));
        }
        let later = now + rate.wait(now) + Duration::from_millis(1);
        prop_assert!(rate.take(1, Duration::ZERO, later).is_ok());
    }
}
