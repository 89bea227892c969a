use std::cmp::Reverse;

use proptest::prelude::*;

use super::*;
use crate::pool::choice::{Candidate, Fitness, Latency, order};

fn candidate(fitness: Option<Fitness>, millis: Option<u64>) -> Candidate {
    let mut latency = Latency::default();
    if let Some(millis) = millis {
        latency.note(Duration::from_millis(millis));
    }
    Candidate { fitness, latency }
}

fn good(millis: u64) -> Candidate {
    candidate(Some(Fitness::Good), Some(millis))
}

#[test]
fn the_order_of_the_configuration_breaks_ties() {
    let unmeasured = [candidate(Some(Fitness::Good), None); 3];
    assert_eq!(order(&unmeasured, 0, true), [0, 1, 2]);
    assert_eq!(order(&[good(100), good(95), good(90)], 0, true), [0, 1, 2]);
    assert_eq!(order(&[good(100), good(95), good(90)], 2, true), [0, 1, 2], "back to the preferred one");
    assert_eq!(order(&[good(3), good(20), good(1)], 0, true), [0, 1, 2], "milliseconds do not matter");
}

#[test]
fn a_clearly_faster_one_is_taken_and_then_kept() {
    let table = [
        // Of 100 ms and this, which is in use, which is next.
        (40, 0, 1),
        (60, 0, 0),
        (60, 1, 1),
        (79, 1, 1),
        (81, 1, 0),
        (100, 1, 0),
        (200, 1, 0),
    ];
    for (second, in_use, expected) in table {
        let chosen = order(&[good(100), good(second)], in_use, true);
        assert_eq!(chosen.first(), Some(&expected), "100 ms and {second} ms, in use {in_use}");
        let kept = order(&[good(100), good(second)], in_use, false);
        assert_eq!(kept.first(), Some(&in_use), "not so soon");
    }
}

#[test]
fn fitness_goes_before_everything() {
    let strained = candidate(Some(Fitness::Strained), Some(1));
    let behind = |height| candidate(Some(Fitness::Behind(Reverse(height))), Some(1));
    let open = candidate(None, Some(1));
    assert_eq!(order(&[strained, good(900)], 0, false), [1, 0], "at once");
    assert_eq!(order(&[behind(7), open, good(900), strained], 0, false), [2, 3, 0]);
    assert_eq!(order(&[behind(7), behind(9)], 0, false), [1, 0], "the higher head");
    assert_eq!(order(&[candidate(Some(Fitness::Probe), None), behind(9)], 1, true), [0, 1]);
    assert!(order(&[open, open], 0, true).is_empty());
}

#[test]
fn latency_is_an_average_that_forgets() {
    let mut latency = Latency::default();
    latency.note(Duration::from_millis(100));
    assert_eq!(latency.seconds(), Some(0.1));
    latency.note(Duration::from_millis(200));
    assert!((latency.seconds().unwrap() - 0.13).abs() < 1e-9);
    for _ in 0..40 {
        latency.note(Duration::from_millis(10));
    }
    assert!(latency.seconds().unwrap() < 0.011);
}

fn any_fitness() -> impl Strategy<Value = Option<Fitness>> {
    prop_oneof![
        4 => Just(Some(Fitness::Good)),
        1 => Just(Some(Fitness::Strained)),
        1 => Just(Some(Fitness::Probe)),
        1 => (0..9_u64).prop_map(|height| Some(Fitness::Behind(Reverse(height)))),
        1 => Just(None),
    ]
}

fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    proptest::collection::vec((any_fitness(), proptest::option::of(1..500_u64)), 1..6)
        .prop_map(|all| all.into_iter().map(|(fitness, millis)| candidate(fitness, millis)).collect())
}

proptest! {
    /// Every endpoint that may be asked is asked once, the fittest first; and whoever is chosen stays chosen while nothing
    /// changes.
    #[test]
    fn all_that_may_be_asked_are_and_nothing_flaps(candidates in any_candidates(), in_use in 0..6_usize) {
        let first = order(&candidates, in_use, true);
        let mut all = first.clone();
        all.sort_unstable();
        let expected: Vec<usize> = (0..candidates.len()).filter(|index| candidates[*index].fitness.is_some()).collect();
        prop_assert_eq!(all, expected);
        let fitness: Vec<Option<Fitness>> = first.iter().map(|index| candidates[*index].fitness).collect();
        prop_assert!(fitness.windows(2).all(|pair| pair[0] <= pair[1]), "{:?}", fitness);
        if let Some(chosen) = first.first() {
            let again = order(&candidates, *chosen, true);
            prop_assert_eq!(again.first(), Some(chosen));
        }
    }

    /// Two endpoints whose times differ by noise: the one in use changes at most once.
    #[test]
    fn noise_does_not_move_it(times in proptest::collection::vec((90..110_u64, 90..110_u64), 50)) {
        let (mut first, mut second) = (good(100), good(100));
        let mut in_use = 1;
        let mut moves = 0;
        for (one, other) in times {
            first.latency.note(Duration::from_millis(one));
            second.latency.note(Duration::from_millis(other));
            let next = order(&[first, second], in_use, true)[0];
            moves += usize::from(next != in_use);
            in_use = next;
        }
        prop_assert!(moves <= 1 && in_use == 0);
    }
}
