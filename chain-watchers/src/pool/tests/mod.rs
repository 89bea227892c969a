//! The pure parts, with moments of the tests' own.
#![allow(clippy::unwrap_used, reason = "tests")]

mod breaker;
mod budget;
mod choice;
mod rate;

use std::time::{Duration, Instant};

use wopay_domain::Timestamp;

use super::meter::SeenHead;
use super::survey::reference;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn after(begin: Instant, passed: f64) -> Instant {
    begin.checked_add(seconds(passed)).unwrap()
}

fn head(height: u64, time: Timestamp) -> Option<SeenHead> {
    Some(SeenHead { height, time })
}

#[test]
fn one_endpoint_alone_cannot_put_two_others_behind() {
    let now = chrono::Utc::now();
    assert_eq!(reference(&[head(100, now), head(101, now), head(9_000_000, now)]), Some(101));
    assert_eq!(reference(&[head(100, now), None, head(130, now)]), Some(130));
    assert_eq!(reference(&[head(100, now), None, None]), Some(100));
    assert_eq!(reference(&[None, None]), None);
}

#[test]
fn a_head_from_the_future_is_compared_with_nothing() {
    let now = chrono::Utc::now();
    let future = now + Duration::from_secs(3600);
    assert_eq!(reference(&[head(100, now), head(9_000_000, future)]), Some(100));
}
