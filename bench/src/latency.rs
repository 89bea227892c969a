//! Latencies of many operations.

use std::time::Duration;

use serde::Serialize;

/// Latencies, in whole microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<u32>);

/// What is told of them, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Percentiles {
    /// Half of the operations took at most this long.
    pub(crate) p50_us: u32,
    /// 99 of 100 took at most this long.
    pub(crate) p99_us: u32,
}

impl Latencies {
    /// Adds one; more than an hour counts as an hour.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.record_us(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    /// Adds one in microseconds.
    pub(crate) fn record_us(&mut self, latency_us: u32) {
        self.0.push(latency_us);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Takes in those of another worker.
    pub(crate) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Median and 99th percentile; `None` when nothing was measured.
    pub(crate) fn percentiles(mut self) -> Option<Percentiles> {
        self.0.sort_unstable();
        let at = |percent: usize| self.0.get((self.0.len() * percent / 100).min(self.0.len().checked_sub(1)?)).copied();
        Some(Percentiles { p50_us: at(50)?, p99_us: at(99)? })
    }
}

#[cfg(test)]
mod tests {
    use super::Latencies;

    #[test]
    fn percentiles_of_a_hundred() {
        let mut latencies = Latencies::default();
        (1..=100).rev().for_each(|latency| latencies.record_us(latency));
        let percentiles = latencies.percentiles().expect("a hundred were recorded");
        assert_eq!((percentiles.p50_us, percentiles.p99_us), (51, 100));
    }

    #[test]
    fn nothing_has_no_percentiles() {
        assert!(Latencies::default().percentiles().is_none());
    }
}
