//! What a verification found.

use std::fmt;

use serde::Serialize;

/// Findings that are listed; more are counted.
pub(super) const FINDINGS_MAX: usize = 100;

/// What is wrong with the ledger, or with the log that vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum Problem {
    /// The event is not the one that was sealed there.
    Altered,
    /// The event was sealed at another position.
    Moved {
        /// Where.
        from: i64,
    },
    /// The event that was sealed there is gone.
    Missing,
    /// An event that was never sealed there, or that the ledger does not count.
    Inserted,
    /// Somewhere in these positions an event is not the one that was sealed, and the stored hashes were made to fit it.
    Rewritten,
    /// A stored hash of the tree is not what the events give; the events are those that were sealed.
    Tile {
        /// The tile's level.
        level: i16,
        /// The tile's index in its level.
        index: i64,
    },
    /// A checkpoint that is not to be believed.
    Checkpoint {
        /// Its size.
        size: i64,
        /// Why.
        reason: String,
    },
    /// Hashes or a checkpoint elsewhere show that more was sealed than the stored checkpoints say.
    CheckpointGone {
        /// How much was sealed.
        size: i64,
    },
    /// Two signed heads of one size with different roots.
    SplitView {
        /// Their size.
        size: i64,
    },
    /// An aggregate's events are not numbered 1, 2, 3 …
    Stream {
        /// The aggregate's type.
        aggregate_type: String,
        /// The aggregate.
        aggregate_id: String,
        /// The first number that is missing.
        sequence: i64,
    },
    /// `ledger_head` does not say where the events end.
    Head {
        /// What it says.
        head: i64,
        /// The newest event.
        newest: i64,
    },
    /// The copy of the newest checkpoint cannot be used.
    Copy {
        /// Why.
        reason: String,
    },
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The first position that it concerns.
    pub position: Option<i64>,
    /// The last, when it concerns several.
    pub upto: Option<i64>,
    /// What.
    #[serde(flatten)]
    pub problem: Problem,
}

impl Finding {
    pub(super) const fn at(position: i64, problem: Problem) -> Self {
        Self { position: Some(position), upto: None, problem }
    }

    pub(super) const fn from_to(position: i64, upto: i64, problem: Problem) -> Self {
        let upto = if upto > position { Some(upto) } else { None };
        Self { position: Some(position), upto, problem }
    }

    pub(super) const fn nowhere(problem: Problem) -> Self {
        Self { position: None, upto: None, problem }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.position, self.upto) {
            (Some(position), Some(upto)) => write!(f, "positions {position} to {upto}: ")?,
            (Some(position), None) => write!(f, "position {position}: ")?,
            (None, _) => {}
        }
        match &self.problem {
            Problem::Altered => f.write_str("altered: the event is not the one that was sealed here"),
            Problem::Moved { from } => write!(f, "reordered: the event was sealed at position {from}"),
            Problem::Missing => f.write_str("missing: what was sealed here is gone"),
            Problem::Inserted => f.write_str("inserted: no such event was sealed here"),
            Problem::Rewritten => f.write_str(
                "rewritten: one of these events is not the one that was sealed, and the stored hashes were made to fit",
            ),
            Problem::Tile { level, index } => write!(
                f,
                "the stored hashes of the tree (level {level}, tile {index}) were altered; the events are those that were sealed"
            ),
            Problem::Checkpoint { size, reason } => {
                write!(f, "the checkpoint of size {size} is not to be believed: {reason}")
            }
            Problem::CheckpointGone { size } => {
                write!(f, "{size} events were sealed, and the stored checkpoints do not say so")
            }
            Problem::SplitView { size } => {
                write!(f, "two different logs of size {size} were signed: somebody else has the key, or had it")
            }
            Problem::Stream { aggregate_type, aggregate_id, sequence } => {
                write!(f, "{aggregate_type} {aggregate_id} has no event number {sequence}")
            }
            Problem::Head { head, newest } => {
                write!(f, "the ledger says that its newest event is {head}; it is {newest}")
            }
            Problem::Copy { reason } => write!(f, "the copy of the newest checkpoint cannot be used: {reason}"),
        }
    }
}

/// What a verification did and found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// After which position it began: 0, or the size of the checkpoint that was trusted.
    pub from: i64,
    /// Events that were read.
    pub events: i64,
    /// The position of the newest event.
    pub newest: i64,
    /// How many events the newest checkpoint covers that was found to be true.
    pub verified: i64,
    /// Checkpoints whose signature and root were found right.
    pub checkpoints: i64,
    /// The newest of them, as it was signed.
    pub checkpoint: Option<String>,
    /// What is wrong, by position.
    pub findings: Vec<Finding>,
    /// Findings that are not listed, there being too many.
    pub findings_unlisted: u64,
}

impl VerifyReport {
    /// Whether everything is as it was sealed.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// The first position that something is wrong with.
    #[must_use]
    pub fn first_position(&self) -> Option<i64> {
        self.findings.iter().filter_map(|finding| finding.position).min()
    }

    /// Events that are too new to be sealed.
    #[must_use]
    pub fn unsealed(&self) -> i64 {
        (self.newest - self.verified).max(0)
    }

    pub(super) fn add(&mut self, finding: Finding) {
        if let Some(last) = self.findings.last_mut().filter(|last| continues(last, &finding)) {
            last.upto = finding.upto.or(finding.position);
        } else if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.findings_unlisted += 1;
        }
    }

    pub(super) fn sort(&mut self) {
        self.findings.sort_by_key(|finding| finding.position.unwrap_or(i64::MAX));
    }
}

/// Whether what is missing, or moved by the same distance, goes on.
fn continues(last: &Finding, next: &Finding) -> bool {
    let (Some(start), Some(position)) = (last.position, next.position) else { return false };
    let adjoins = last.upto.unwrap_or(start) + 1 == position;
    adjoins
        && match (&last.problem, &next.problem) {
            (Problem::Missing, Problem::Missing) => true,
            (Problem::Moved { from }, Problem::Moved { from: next }) => from - start == next - position,
            _ => false,
        }
}
