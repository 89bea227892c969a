//! Who may have how many attempts in flight, so that a receiver that is slow or dead delays nobody else.
//!
//! A lane is one merchant's deliveries to one scheme, host and port. Within a process a lane, a merchant and the whole
//! each have a limit. A lane whose last attempt brought no answer is a suspect: it is probed one delivery at a time, and
//! all suspects together may use only a part of the whole, so the rest is always free for those who answer.

use std::collections::HashMap;

use uuid::Uuid;

/// Suspects that are remembered without having anything in flight.
const IDLE_SUSPECTS_MAX: usize = 4096;

/// One merchant's deliveries to one scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    pub(super) merchant_id: Uuid,
    pub(super) origin: String,
}

#[derive(Debug, Default, Clone, Copy)]
struct Standing {
    in_flight: u32,
    suspect: bool,
}

/// What is in flight in this process. Lanes at rest that nothing is held against are not kept.
#[derive(Debug, Default)]
pub(super) struct Lanes(HashMap<Lane, Standing>);

/// The same as columns, for the claim's SQL.
#[derive(Debug, Default)]
pub(super) struct LaneColumns {
    pub(super) merchants: Vec<Uuid>,
    pub(super) origins: Vec<String>,
    pub(super) in_flight: Vec<i32>,
    pub(super) suspect: Vec<bool>,
}

impl Lanes {
    /// An attempt begins.
    pub(super) fn begin(&mut self, lane: &Lane) {
        let standing = self.0.entry(lane.clone()).or_default();
        standing.in_flight = standing.in_flight.saturating_add(1);
    }

    /// An attempt ended; `answered` when the receiver said anything at all.
    pub(super) fn end(&mut self, lane: &Lane, answered: bool) {
        let Some(standing) = self.0.get_mut(lane) else { return };
        standing.in_flight = standing.in_flight.saturating_sub(1);
        standing.suspect = !answered;
        if answered && standing.in_flight == 0 {
            self.0.remove(lane);
        }
        if self.0.len() > IDLE_SUSPECTS_MAX {
            self.0.retain(|_, standing| standing.in_flight > 0);
        }
    }

    /// Attempts in flight at suspects.
    pub(super) fn suspects_in_flight(&self) -> u32 {
        self.0.values().filter(|standing| standing.suspect).map(|standing| standing.in_flight).sum()
    }

    pub(super) fn columns(&self) -> LaneColumns {
        let mut columns = LaneColumns::default();
        for (lane, standing) in &self.0 {
            columns.merchants.push(lane.merchant_id);
            columns.origins.push(lane.origin.clone());
            columns.in_flight.push(i32::try_from(standing.in_flight).unwrap_or(i32::MAX));
            columns.suspect.push(standing.suspect);
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(host: &str) -> Lane {
        Lane { merchant_id: Uuid::nil(), origin: format!("https://{host}") }
    }

    #[test]
    fn a_lane_is_suspect_until_it_answers() {
        let (mut lanes, dead) = (Lanes::default(), lane("dead.example"));
        for _ in 0..3 {
            lanes.begin(&dead);
        }
        assert_eq!(lanes.suspects_in_flight(), 0);
        lanes.end(&dead, false);
        assert_eq!(lanes.suspects_in_flight(), 2);
        lanes.end(&dead, false);
        lanes.end(&dead, false);
        assert_eq!(lanes.columns().suspect, [true]);
        lanes.begin(&dead);
        lanes.end(&dead, true);
        assert!(lanes.0.is_empty());
    }

    #[test]
    fn idle_suspects_are_forgotten_before_they_are_too_many() {
        let mut lanes = Lanes::default();
        for number in 0..=2 * IDLE_SUSPECTS_MAX {
            let lane = lane(&number.to_string());
            lanes.begin(&lane);
            lanes.end(&lane, false);
        }
        assert!(lanes.0.len() <= IDLE_SUSPECTS_MAX);
    }
}
