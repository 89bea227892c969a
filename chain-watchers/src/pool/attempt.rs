//! One try at something, at as many endpoints as it takes.

use tracing::warn;
use wopay_domain::ChainName;

use super::{Failure as _, Inner, Node, Standing, Unusable};
use crate::source::SourceError;

/// One try at something, at as many endpoints as it takes.
pub(crate) struct Attempt<'a, N: Node> {
    pool: &'a Inner<N>,
    /// Of those left, the next one last.
    left: Vec<usize>,
    /// Why those before did not do, by endpoint.
    reasons: Vec<String>,
    /// Whether each of them is not what the configuration says.
    all_wrong: bool,
    /// What it comes to does not say which endpoint is fit.
    is_aside: bool,
}

/// No endpoint of a chain gives a usable answer: why, each.
#[derive(Debug, thiserror::Error)]
#[error("chain {chain}: {}", reasons.join("; "))]
struct Exhausted {
    chain: ChainName,
    reasons: Vec<String>,
}

impl<'a, N: Node> Attempt<'a, N> {
    pub(super) fn new(pool: &'a Inner<N>, mut order: Vec<usize>) -> Self {
        let mut reasons = Vec::new();
        for (index, endpoint) in pool.endpoints.iter().enumerate() {
            if !order.contains(&index)
                && let Some(reason) = endpoint.meter().withheld()
            {
                reasons.push(format!("{} is not asked: {reason}", endpoint.label()));
            }
        }
        let all_wrong = order.len() == pool.endpoints.len();
        order.reverse();
        Self { pool, left: order, reasons, all_wrong, is_aside: false }
    }

    /// The same for a question that not every endpoint has to answer: none is taken into use, and none left, for it.
    pub(super) fn aside(self) -> Self {
        Self { is_aside: true, ..self }
    }

    /// The next endpoint to ask.
    ///
    /// # Errors
    /// When every endpoint has failed: why.
    pub(crate) async fn next(&mut self) -> Result<&'a N, SourceError> {
        while let Some(index) = self.left.pop() {
            let Some(endpoint) = self.pool.endpoints.get(index) else { continue };
            match self.pool.verify(endpoint).await {
                Ok(()) => {
                    if !self.is_aside {
                        self.pool.switch_to(index);
                    }
                    return Ok(endpoint);
                }
                Err(Unusable::Wrong(reason)) => self.reasons.push(format!("{}: {reason}", endpoint.label())),
                Err(Unusable::Failed(failure)) => {
                    self.all_wrong = false;
                    self.reasons.push(with_causes(&failure));
                }
            }
        }
        let chain = self.pool.chain.clone();
        let reasons = std::mem::take(&mut self.reasons);
        let exhausted = Exhausted { chain, reasons };
        if self.all_wrong {
            return Err(SourceError::Refused { reason: exhausted.to_string() });
        }
        Err(SourceError::Unavailable(Box::new(exhausted)))
    }

    /// The endpoint gave no usable answer. It is checked again before it is used again, and others go before it for a
    /// while.
    pub(crate) async fn failed(&mut self, endpoint: &N, failure: N::Failure) {
        self.all_wrong = false;
        if !failure.is_not_asked() && !self.is_aside {
            endpoint.meter().strike();
            *endpoint.standing().lock().await = Standing::Unknown;
        }
        if !self.left.is_empty() && !self.is_aside {
            warn!(chain = %self.pool.chain, error = &failure as &dyn std::error::Error, "trying the next endpoint");
        }
        self.reasons.push(with_causes(&failure));
    }
}

/// An error with all of its causes on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
