//! Which waiting commands may share an append.
//!
//! Two commands of one group may have neither the aggregate nor a claim in common, so that in the database whether one
//! wins never depends on another. Of two that do, the later waits for the next group. The order of commands on one
//! aggregate or claim is the order in which they came.

use std::collections::{HashSet, VecDeque};

use super::append::{Append, BYTES_MAX, EVENTS_MAX};

/// What a waiting entry must tell to be put into a group.
pub(super) trait Waiting {
    /// Its append.
    fn append(&self) -> &Append;
}

/// Takes the next group out of `waiting`: at least one entry if there is any, as many as fit and are independent.
pub(super) fn next_group<W: Waiting>(waiting: &mut VecDeque<W>, commands_max: usize) -> Vec<W> {
    let chosen = choose(waiting, commands_max);
    if chosen.iter().all(|chosen| *chosen) {
        return waiting.drain(..chosen.len()).collect();
    }
    let mut group = Vec::with_capacity(chosen.len());
    let mut left = VecDeque::with_capacity(waiting.len());
    for (index, entry) in waiting.drain(..).enumerate() {
        match chosen.get(index) {
            Some(true) => group.push(entry),
            Some(false) | None => left.push_back(entry),
        }
    }
    *waiting = left;
    group
}

/// For each of the first entries, whether it belongs to the group; entries beyond the end of the answer do not.
fn choose<W: Waiting>(waiting: &VecDeque<W>, commands_max: usize) -> Vec<bool> {
    let mut taken = HashSet::with_capacity(waiting.len().min(commands_max) * 4);
    let mut chosen = Vec::with_capacity(waiting.len().min(commands_max));
    let (mut commands, mut events, mut bytes) = (0, 0, 0);
    for entry in waiting {
        let append = entry.append();
        let full = commands + 1 > commands_max
            || events + append.event_count() > EVENTS_MAX
            || bytes + append.bytes() > BYTES_MAX;
        if commands > 0 && full {
            break;
        }
        // Every key is noted, also of an entry that must wait: what comes later must not overtake it.
        let mut independent = taken.insert((append.aggregate_type, append.aggregate_id.as_str()));
        for claim in &append.claims {
            independent &= taken.insert((claim.kind().as_str(), claim.key()));
        }
        if independent {
            commands += 1;
            events += append.event_count();
            bytes += append.bytes();
        }
        chosen.push(independent);
    }
    chosen
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

    use std::collections::HashMap;

    use cqrs_es::DomainEvent;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::claims::Claim;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Tick;

    impl DomainEvent for Tick {
        fn event_type(&self) -> String {
            "Tick".to_owned()
        }

        fn event_version(&self) -> String {
            "1.0".to_owned()
        }
    }

    #[derive(Debug)]
    struct Entry {
        arrival: usize,
        append: Append,
    }

    impl Waiting for Entry {
        fn append(&self) -> &Append {
            &self.append
        }
    }

    impl Entry {
        fn keys(&self) -> Vec<String> {
            let claims = self.append.claims.iter().map(|claim| format!("claim {}", claim.key()));
            claims.chain([format!("aggregate {}", self.append.aggregate_id)]).collect()
        }
    }

    /// (aggregate, claims, events): small numbers, so that they collide.
    fn entries(wanted: Vec<(u8, HashSet<u8>, usize)>) -> VecDeque<Entry> {
        let entry = |(arrival, (aggregate, claims, events)): (usize, (u8, HashSet<u8>, usize))| Entry {
            arrival,
            append: Append::new(
                "test",
                &aggregate.to_string(),
                0,
                &vec![Tick; events],
                &HashMap::new(),
                claims.into_iter().map(|key| Claim::merchant_email(&key.to_string())).collect(),
            )
            .unwrap(),
        };
        wanted.into_iter().enumerate().map(entry).collect()
    }

    fn wanted() -> impl Strategy<Value = Vec<(u8, HashSet<u8>, usize)>> {
        let claims = proptest::collection::hash_set(0..12_u8, 0..3);
        proptest::collection::vec((0..20_u8, claims, prop_oneof![4 => 1..4_usize, 1 => 200..400_usize]), 0..60)
    }

    proptest! {
        #[test]
        fn groups_are_independent_bounded_complete_and_in_order(wanted in wanted(), commands_max in 1..50_usize) {
            let mut waiting = entries(wanted);
            let total = waiting.len();
            let mut order = Vec::new();
            while !waiting.is_empty() {
                let group = next_group(&mut waiting, commands_max);
                prop_assert!(!group.is_empty() && group.len() <= commands_max);
                let events: usize = group.iter().map(|entry| entry.append.event_count()).sum();
                prop_assert!(events <= EVENTS_MAX || group.len() == 1);
                let mut seen = HashSet::new();
                for entry in &group {
                    for key in entry.keys() {
                        prop_assert!(seen.insert(key), "two commands of a group share a key");
                    }
                }
                order.extend(group);
            }
            prop_assert_eq!(order.len(), total);
            let mut last_arrival: HashMap<String, usize> = HashMap::new();
            for entry in &order {
                for key in entry.keys() {
                    let before = last_arrival.insert(key, entry.arrival);
                    prop_assert!(before.is_none_or(|before| before < entry.arrival), "overtaken on a shared key");
                }
            }
        }
    }

    #[test]
    fn the_later_of_two_on_one_claim_waits_and_nobody_overtakes_it() {
        let of = |keys: &[u8]| keys.iter().copied().collect::<HashSet<_>>();
        let mut waiting = entries(vec![(1, of(&[7]), 1), (2, of(&[7]), 1), (2, of(&[]), 1), (3, of(&[]), 1)]);
        let mut arrivals = || next_group(&mut waiting, 10).iter().map(|entry| entry.arrival).collect::<Vec<_>>();
        assert_eq!(arrivals(), [0, 3]);
        assert_eq!(arrivals(), [1]);
        assert_eq!(arrivals(), [2]);
    }
}
