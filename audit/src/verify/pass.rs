//! One pass over the events, told apart from what is stored about them by what was signed.

use tlog_tiles::Hash;
use wopay_eventbus::log::EventRef;

use super::block::{Head, Leaves, tile_finding};
use super::report::{Finding, Problem, VerifyReport};
use super::suspect::Suspects;
use crate::tree::{Completed, Frontier, TILE_HEIGHT, TILE_WIDTH};

/// What a signed head does not vouch for, though events and stored leaves agree.
#[derive(Debug, Default)]
struct Rewritten {
    /// Since the last head that fitted.
    broad: Option<Finding>,
    /// Under hashes above the leaves that do not fit either.
    narrow: Vec<Finding>,
}

/// Where the pass stands.
///
/// Where events and stored leaves differ, there are two trees until the next signed head tells which was sealed.
pub(super) struct Pass {
    /// The tree over the events; since a position is missing, over nothing that means anything.
    events: Frontier,
    /// The tree over the stored leaves, when they differ since the last head.
    stored: Option<Frontier>,
    /// An event is missing since the last head.
    is_missing: bool,
    suspects: Suspects,
    /// The last position at which something differed.
    differed: i64,
    /// Up to here a signed head vouches for what was read.
    vouched: i64,
    /// What was sealed can no longer be told from what was not: a signed head fitted neither tree.
    is_lost: bool,
    /// How many events' hashes should be stored.
    hashed: i64,
    /// Hashes for the levels above the leaves, computed since they were last taken.
    completed: Vec<Completed>,
    /// Stored hashes above the leaves that the events do not give, and no head has shown yet which are true.
    doubtful: Vec<Finding>,
    /// Where, at the narrowest that is known, events and stored leaves were altered alike.
    rewritten: Rewritten,
    pub(super) report: VerifyReport,
}

impl Pass {
    /// Begins after what `tree` covers.
    pub(super) fn after(tree: Frontier, hashed: i64, report: VerifyReport) -> Self {
        Self {
            events: tree,
            stored: None,
            is_missing: false,
            suspects: Suspects::default(),
            differed: 0,
            vouched: report.from,
            is_lost: false,
            hashed,
            completed: Vec::new(),
            doubtful: Vec::new(),
            rewritten: Rewritten::default(),
            report,
        }
    }

    /// The event at the next position.
    pub(super) fn event(&mut self, event: &EventRef<'_>, leaf: Hash, leaves: &Leaves) {
        self.report.events += 1;
        match leaves.at(event.position) {
            Some(sealed) if sealed != leaf => {
                self.suspects.add(event, sealed, leaves);
                self.push(event.position, leaf, Some(sealed));
            }
            // Where the stored leaf is missing, `unstored` says so.
            Some(_) => self.push(event.position, leaf, None),
            None => self.unstored(event.position, leaf),
        }
    }

    /// No event stands at the next position.
    pub(super) fn missing(&mut self, position: i64, leaves: &Leaves) {
        self.report.add(Finding::at(position, Problem::Missing));
        self.is_missing = true;
        // With the stored leaf in its place, the signed heads can still speak for the events after it.
        let sealed = leaves.at(position);
        self.is_lost |= sealed.is_none();
        self.push(position, Hash::default(), Some(sealed.unwrap_or_default()));
    }

    /// A signed head, reached.
    pub(super) fn head(&mut self, head: &Head) {
        let suspects = std::mem::take(&mut self.suspects);
        let stored = self.stored.take();
        let events_fit = !self.is_missing && self.events.root() == head.root;
        self.is_missing = false;
        if self.is_lost {
            self.findings(suspects.into_findings());
            return;
        }
        match stored {
            _ if events_fit => self.findings(tiles_under(suspects)),
            Some(stored) if stored.root() == head.root => {
                self.findings(suspects.into_findings());
                self.events = stored;
            }
            _ => {
                self.findings(suspects.into_findings());
                self.rewritten.broad = Some(Finding::from_to(self.vouched + 1, head.size, Problem::Rewritten));
                self.is_lost = true;
                self.rewritten.narrow.append(&mut self.doubtful);
                return;
            }
        }
        let doubtful = std::mem::take(&mut self.doubtful);
        self.findings(doubtful);
        self.vouched = head.size;
        self.report.verified = head.size;
        self.report.checkpoints += 1;
        self.report.checkpoint = Some(head.note.clone());
    }

    /// Hashes computed for the levels above the leaves since the last call, as far as they are sealed.
    pub(super) fn take_completed(&mut self) -> Vec<Completed> {
        std::mem::take(&mut self.completed)
    }

    /// Stored hashes above the leaves are not what the events give.
    pub(super) fn differing_tiles(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            let vouched = finding.upto.or(finding.position).is_some_and(|upto| upto <= self.vouched);
            match (vouched, self.is_lost) {
                (true, _) => self.report.add(finding),
                (false, true) => self.rewritten.narrow.push(finding),
                (false, false) => self.doubtful.push(finding),
            }
        }
    }

    /// After the last position.
    pub(super) fn finish(mut self) -> VerifyReport {
        let suspects = std::mem::take(&mut self.suspects);
        self.findings(suspects.into_findings());
        let doubtful = std::mem::take(&mut self.doubtful);
        self.findings(doubtful);
        let Rewritten { broad, narrow } = std::mem::take(&mut self.rewritten);
        let level_one = |finding: &Finding| matches!(finding.problem, Problem::Tile { level: 1, .. });
        let narrow: Vec<_> = narrow.into_iter().filter(level_one).collect();
        if narrow.is_empty() {
            self.findings(broad.into_iter().collect());
        }
        self.findings(narrow.into_iter().map(|tile| Finding { problem: Problem::Rewritten, ..tile }).collect());
        self.report
    }

    fn unstored(&mut self, position: i64, leaf: Hash) {
        if position <= self.hashed {
            self.differed = position;
            let index = (position - 1) / TILE_WIDTH;
            let tile = tile_finding(0, index);
            let finding = Finding { upto: tile.upto.map(|upto| upto.min(self.hashed)), ..tile };
            if !self.report.findings.contains(&finding) {
                self.report.add(finding);
            }
        }
        self.push(position, leaf, None);
    }

    /// Adds to both trees; `sealed` is the stored leaf if it is another.
    fn push(&mut self, position: i64, leaf: Hash, sealed: Option<Hash>) {
        if sealed.is_some() {
            self.differed = position;
            self.stored.get_or_insert_with(|| self.events.clone());
        }
        if let Some(stored) = &mut self.stored {
            stored.push(sealed.unwrap_or(leaf), |_| {});
        }
        let (completed, differed, end) = (&mut self.completed, self.differed, self.hashed);
        self.events.push(leaf, |hash| {
            let under = 1_i64.checked_shl(u32::from(hash.level * TILE_HEIGHT)).unwrap_or(i64::MAX);
            // What differs below is reported there.
            if position - under >= differed && position <= end {
                completed.push(hash);
            }
        });
    }

    fn findings(&mut self, findings: Vec<Finding>) {
        findings.into_iter().for_each(|finding| self.report.add(finding));
    }
}

/// The tiles that hold these leaves: a signed head has shown that the events are true, and not they.
fn tiles_under(suspects: Suspects) -> Vec<Finding> {
    let ranges = suspects.into_tiles().into_iter();
    let tile = |(first, last): (i64, i64)| {
        let index = (first - 1) / TILE_WIDTH;
        Finding::from_to(first, last, Problem::Tile { level: 0, index })
    };
    ranges.map(tile).collect()
}
