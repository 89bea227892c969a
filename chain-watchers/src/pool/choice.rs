//! Which endpoint is asked first.
//!
//! The fittest, and among equally fit ones the fastest; those that are about as fast stand in the order of the
//! configuration. The endpoint in use is left only for one that is clearly better, and not soon after it was chosen.

use std::cmp::Reverse;
use std::time::Duration;

/// Weight of the newest measurement in the average.
const NEWEST: f64 = 0.3;
/// About as fast as the fastest: a quarter slower, or so little that it does not matter between two looks at the head …
const NEAR: (f64, f64) = (1.25, 0.020);
/// … and what is in use is kept while it is no slower than this.
const KEPT: (f64, f64) = (1.6, 0.050);

/// An exponentially weighted moving average of answer times, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latency(Option<f64>);

impl Latency {
    pub(crate) fn note(&mut self, taken: Duration) {
        let taken = taken.as_secs_f64();
        self.0 = Some(self.0.map_or(taken, |average| average + NEWEST * (taken - average)));
    }

    pub(crate) const fn seconds(self) -> Option<f64> {
        self.0
    }
}

/// How fit an endpoint is, the fittest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fitness {
    /// Nothing speaks against it.
    Good,
    /// It failed a moment ago, wants to be asked less, or its budget is nearly spent.
    Strained,
    /// Its breaker lets one call through.
    Probe,
    /// Its head lags behind others or is old; the higher the head the better.
    Behind(Reverse<u64>),
}

/// What the choice looks at. `fitness: None`: it is not asked at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) fitness: Option<Fitness>,
    pub(crate) latency: Latency,
}

/// The endpoints to ask, one after the other, by their index. `may_move`: the one in use has been so for long enough.
pub(crate) fn order(candidates: &[Candidate], in_use: usize, may_move: bool) -> Vec<usize> {
    let mut fit: Vec<(Fitness, usize)> =
        candidates.iter().enumerate().filter_map(|(index, candidate)| Some((candidate.fitness?, index))).collect();
    fit.sort_unstable();
    let Some((best, _)) = fit.first().copied() else { return Vec::new() };
    let latency = |index: usize| candidates.get(index).and_then(|candidate| candidate.latency.seconds());
    let peers: Vec<usize> = fit.iter().filter(|(fitness, _)| *fitness == best).map(|(_, index)| *index).collect();
    let leader = leader(&peers, in_use, may_move, latency);
    let mut order: Vec<usize> = fit.into_iter().map(|(_, index)| index).collect();
    order.sort_by_key(|index| Some(*index) != leader);
    order
}

/// Of endpoints that are equally fit, in the order of the configuration.
fn leader(peers: &[usize], in_use: usize, may_move: bool, latency: impl Fn(usize) -> Option<f64>) -> Option<usize> {
    let is_peer = peers.contains(&in_use);
    if is_peer && !may_move {
        return Some(in_use);
    }
    let fastest = peers.iter().filter_map(|index| latency(*index)).min_by(f64::total_cmp);
    let Some(fastest) = fastest else {
        return if is_peer { Some(in_use) } else { peers.first().copied() };
    };
    let within = |(factor, slack): (f64, f64), index: usize| {
        latency(index).is_some_and(|seconds| seconds <= fastest * factor || seconds <= fastest + slack)
    };
    let near = peers.iter().copied().find(|index| within(NEAR, *index));
    match near {
        // As good, and preferred by who wrote the configuration.
        Some(near) if near < in_use => Some(near),
        _ if is_peer && (within(KEPT, in_use) || latency(in_use).is_none()) => Some(in_use),
        near => near.or_else(|| peers.first().copied()),
    }
}
