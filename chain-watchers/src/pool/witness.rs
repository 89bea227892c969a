//! Which endpoints name the same hash for a block: one that lies about a large amount needs accomplices.

use std::collections::BTreeSet;

use futures::future::join_all;
use tracing::warn;
use wopay_domain::BlockRef;

use super::attempt::with_causes;
use super::{Node, Pool, Unusable};
use crate::source::Witnesses;

impl<N: Node> Pool<N> {
    /// Asks every endpoint that can be asked for the hash at the block's height. An address that stands in the
    /// configuration twice is one endpoint.
    pub(crate) async fn witnesses(&self, block: &BlockRef) -> Witnesses {
        let answers = join_all(self.0.endpoints.iter().map(|endpoint| self.testimony(endpoint, block))).await;
        let mut witnesses = Witnesses::default();
        let mut seen = BTreeSet::new();
        for (endpoint, answer) in self.0.endpoints.iter().zip(answers) {
            let label = endpoint.label().to_owned();
            if !seen.insert(label.clone()) {
                continue;
            }
            match answer {
                Ok(Some(hash)) if hash == block.hash => witnesses.same.push(label),
                Ok(Some(hash)) => witnesses.other.push(format!("{label} has {hash}")),
                Ok(None) => witnesses.silent.push(format!("{label} has no such block")),
                Err(reason) => witnesses.silent.push(reason),
            }
        }
        witnesses
    }

    async fn testimony(&self, endpoint: &N, block: &BlockRef) -> Result<Option<String>, String> {
        match self.0.verify(endpoint).await {
            Ok(()) => {}
            Err(Unusable::Wrong(reason)) => return Err(format!("{}: {reason}", endpoint.label())),
            Err(Unusable::Failed(failure)) => return Err(with_causes(&failure)),
        }
        endpoint.hash_at(block.number).await.map_err(|failure| {
            warn!(chain = %self.0.chain, error = &failure as &dyn std::error::Error, "no hash to compare");
            with_causes(&failure)
        })
    }
}
