//! Events that are not what the stored leaves say, and what became of them.

use tlog_tiles::Hash;
use wopay_eventbus::log::EventRef;

use super::block::Leaves;
use super::report::{Finding, Problem};
use crate::leaf;

/// Suspects that are kept to find out more about them; of others only the positions are named.
const KEPT_MAX: usize = 64;

/// An event whose hash is not the stored leaf.
#[derive(Debug)]
pub(super) struct Suspect {
    position: i64,
    sealed: Hash,
    /// Where else it was sealed: what its hash would be there is what is stored there.
    from: Option<i64>,
    /// The event's own values, to try it at other positions.
    event: OwnedEvent,
}

#[derive(Debug)]
struct OwnedEvent {
    texts: [String; 6],
    sequence: i64,
    recorded_at_micros: i64,
}

impl OwnedEvent {
    fn of(event: &EventRef<'_>) -> Self {
        let texts = [
            event.aggregate_type,
            event.aggregate_id,
            event.event_type,
            event.event_version,
            event.payload,
            event.metadata,
        ];
        Self { texts: texts.map(str::to_owned), sequence: event.sequence, recorded_at_micros: event.recorded_at_micros }
    }

    /// The leaf that it would be at that position.
    fn hash_at(&self, position: i64) -> Hash {
        let [aggregate_type, aggregate_id, event_type, event_version, payload, metadata] = &self.texts;
        leaf::hash(&EventRef {
            position,
            aggregate_type,
            aggregate_id,
            sequence: self.sequence,
            event_type,
            event_version,
            payload,
            metadata,
            recorded_at_micros: self.recorded_at_micros,
        })
    }
}

/// The suspects since the last signed head, in order of position.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    kept: Vec<Suspect>,
    /// Positions beyond those kept.
    others: Option<(i64, i64)>,
}

impl Suspects {
    /// Adds an event whose hash is not `sealed`.
    pub(super) fn add(&mut self, event: &EventRef<'_>, sealed: Hash, leaves: &Leaves) {
        let position = event.position;
        if self.kept.len() >= KEPT_MAX {
            self.others = Some((self.others.map_or(position, |(first, _)| first), position));
            return;
        }
        let event = OwnedEvent::of(event);
        // Its neighbours: an event taken out or put in moves all that follow by one.
        let beside = [position - 1, position + 1];
        let from = beside.into_iter().find(|&place| leaves.at(place) == Some(event.hash_at(place)));
        self.kept.push(Suspect { position, sealed, from, event });
    }

    /// What became of each, the stored leaves being true.
    pub(super) fn into_findings(self) -> Vec<Finding> {
        let problems: Vec<Problem> = self.kept.iter().map(|suspect| self.problem(suspect)).collect();
        let mut findings = Vec::with_capacity(problems.len() + 1);
        for (number, suspect) in self.kept.iter().enumerate() {
            let position = suspect.position;
            let next = self.kept.get(number + 1).filter(|next| next.position == position + 1);
            let next_moved_down =
                next.is_some() && problems.get(number + 1) == Some(&Problem::Moved { from: position });
            let is_first_moved_up = problems[number] == Problem::Moved { from: position + 1 }
                && (number == 0 || problems[number - 1] != Problem::Moved { from: position });
            let exchanged = problems.get(number + 1) == Some(&Problem::Moved { from: position });
            if is_first_moved_up && !exchanged {
                findings.push(Finding::at(position, Problem::Missing));
            }
            let is_inserted = problems[number] == Problem::Altered && next_moved_down;
            let problem = if is_inserted { Problem::Inserted } else { problems[number].clone() };
            findings.push(Finding::at(position, problem));
        }
        if let Some((first, last)) = self.others {
            findings.push(Finding::from_to(first, last, Problem::Altered));
        }
        findings
    }

    /// The positions, the events being true and the stored leaves not.
    pub(super) fn into_tiles(self) -> Vec<(i64, i64)> {
        let kept = self.kept.iter().map(|suspect| (suspect.position, suspect.position));
        kept.chain(self.others).collect()
    }

    fn problem(&self, suspect: &Suspect) -> Problem {
        let elsewhere = || {
            let others = self.kept.iter().filter(|other| other.position != suspect.position);
            let mut others = others.filter(|other| suspect.event.hash_at(other.position) == other.sealed);
            others.next().map(|other| other.position)
        };
        suspect.from.or_else(elsewhere).map_or(Problem::Altered, |from| Problem::Moved { from })
    }
}
