//! Which endpoints say the same of a block: one that lies about a large amount needs accomplices.
//!
//! All are asked at the same time, and not longer than it takes until enough have answered: an endpoint that hangs holds
//! nobody up. What they are asked is the family's: the hash at least, and what the block is said to hold.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tracing::warn;

use super::attempt::with_causes;
use super::{Node, Pool, Unusable};
use crate::source::Witnesses;

/// What an endpoint says of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Testimony {
    /// All that is claimed.
    Same,
    /// Something else: what, after the endpoint's name.
    Other(String),
    /// It has no such block.
    NoBlock,
}

impl<N: Node> Pool<N> {
    /// Asks every endpoint that can be asked, until so many say the same; who has not answered within that time is silent. An
    /// address that stands in the configuration twice is one endpoint.
    pub(crate) async fn witnesses<'a, F>(
        &'a self,
        within: Duration,
        enough: usize,
        ask: impl Fn(&'a N) -> F + Sync,
    ) -> Witnesses
    where
        F: Future<Output = Result<Testimony, N::Failure>> + Send,
    {
        let mut pending = BTreeSet::new();
        let distinct = self.0.endpoints.iter().filter(|endpoint| pending.insert(endpoint.label()));
        let distinct: Vec<&N> = distinct.collect();
        let ask = &ask;
        let asked = distinct
            .into_iter()
            .map(|endpoint| async move { (endpoint.label(), self.testimony(endpoint, ask(endpoint)).await) });
        let mut answers: FuturesUnordered<_> = asked.collect();
        let mut witnesses = Witnesses::default();
        let time = tokio::time::sleep(within);
        tokio::pin!(time);
        while witnesses.same.len() < enough {
            let answer = tokio::select! {
                answer = answers.next() => answer,
                () = &mut time => {
                    let late = pending.iter().map(|label| format!("{label} does not answer within {within:?}"));
                    witnesses.silent.extend(late);
                    break;
                }
            };
            let Some((label, answer)) = answer else { break };
            pending.remove(label);
            match answer {
                Ok(Testimony::Same) => witnesses.same.push(label.to_owned()),
                Ok(Testimony::Other(what)) => witnesses.other.push(format!("{label} {what}")),
                Ok(Testimony::NoBlock) => witnesses.silent.push(format!("{label} has no such block")),
                Err(reason) => witnesses.silent.push(reason),
            }
        }
        witnesses
    }

    async fn testimony(
        &self,
        endpoint: &N,
        answer: impl Future<Output = Result<Testimony, N::Failure>> + Send,
    ) -> Result<Testimony, String> {
        match self.0.verify(endpoint).await {
            Ok(()) => {}
            Err(Unusable::Wrong(reason)) => return Err(format!("{}: {reason}", endpoint.label())),
            Err(Unusable::Failed(failure)) => return Err(with_causes(&failure)),
        }
        answer.await.map_err(|failure| {
            warn!(chain = %self.0.chain, error = &failure as &dyn std::error::Error, "nothing to compare");
            with_causes(&failure)
        })
    }
}
