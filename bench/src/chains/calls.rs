//! How often a node is asked, by the metrics of the process that watches.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::metrics;
use crate::gateway::Gateway;

const CALLS: &str = "wopay_chain_watchers_rpc_calls_total";
const BLOCKS: &str = "wopay_chain_watchers_blocks_total";

/// What a chain's nodes were asked in a while.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Calls {
    /// The chain.
    pub(crate) chain: String,
    /// How long.
    pub(crate) seconds: f64,
    /// Blocks processed meanwhile.
    pub(crate) blocks: f64,
    /// Calls by method.
    pub(crate) methods: BTreeMap<String, f64>,
}

impl Calls {
    /// Calls for each block.
    pub(crate) fn per_block(&self) -> f64 {
        self.methods.values().sum::<f64>() / self.blocks.max(1.0)
    }

    /// Methods with their calls for each block.
    pub(crate) fn by_method(&self) -> String {
        let each = self.methods.iter().map(|(method, calls)| format!("{method} {:.2}", calls / self.blocks.max(1.0)));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// Metrics at a moment.
pub(crate) struct Metrics {
    text: String,
    at: Instant,
}

impl Metrics {
    /// Reads them.
    pub(crate) async fn read(gateway: &Gateway, http: &reqwest::Client) -> Result<Self> {
        let answer = http.get(format!("{}/metrics", gateway.url)).send().await?;
        ensure!(answer.status().is_success(), "/metrics answers {}", answer.status());
        Ok(Self { text: answer.text().await?, at: Instant::now() })
    }

    /// A chain's value.
    pub(crate) fn gauge(&self, name: &str, chain: &str) -> Option<f64> {
        metrics::sum(&self.text, name, &[("chain", chain)])
    }

    /// Blocks of a chain that were processed.
    pub(crate) fn blocks(&self, chain: &str) -> f64 {
        self.gauge(BLOCKS, chain).unwrap_or_default()
    }

    /// What was asked since an earlier moment.
    pub(crate) fn calls_since(&self, earlier: &Self, chain: &str) -> Result<Calls> {
        let of = |metrics: &Self, method: &str| {
            metrics::sum(&metrics.text, CALLS, &[("chain", chain), ("method", method)]).unwrap_or_default()
        };
        let blocks = self.blocks(chain) - earlier.blocks(chain);
        let mut methods = BTreeMap::new();
        for method in metrics::values_of(&self.text, CALLS, &[("chain", chain)], "method") {
            let calls = of(self, method) - of(earlier, method);
            if calls > 0.0 {
                methods.insert(method.to_owned(), calls);
            }
        }
        (!methods.is_empty() && blocks > 0.0)
            .then(|| Calls { chain: chain.to_owned(), seconds: (self.at - earlier.at).as_secs_f64(), blocks, methods })
            .with_context(|| format!("nothing was asked about {chain}, or no block processed"))
    }
}
