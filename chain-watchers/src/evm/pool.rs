//! The endpoints of one chain: one is in use, the others wait for it to fail.
//!
//! Everything that belongs to one block is asked of one endpoint. It stays in use until it fails; then the whole block
//! is asked of the next. An endpoint is checked (chain id, tokens) before its first answer is believed, and again after
//! every failure.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, warn};
use wopay_domain::ChainName;

use super::endpoint::{Endpoint, Standing};
use super::error::EvmError;
use super::inspect::Expected;
use crate::source::SourceError;

/// How long an endpoint that is not what it should be is left alone.
const WRONG_FOR: Duration = Duration::from_secs(8);

#[derive(Debug)]
pub(crate) struct Pool {
    chain: ChainName,
    endpoints: Vec<Endpoint>,
    in_use: AtomicUsize,
    expected: Expected,
}

/// One try at something, at as many endpoints as it takes.
pub(crate) struct Attempt<'a> {
    pool: &'a Pool,
    next: usize,
    left: usize,
    wrong: Vec<String>,
    failure: Option<EvmError>,
}

impl Pool {
    pub(crate) fn new(chain: ChainName, endpoints: Vec<Endpoint>, expected: Expected) -> Self {
        Self { chain, endpoints, in_use: AtomicUsize::new(0), expected }
    }

    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    pub(crate) fn expected(&self) -> &Expected {
        &self.expected
    }

    /// Begins with the endpoint in use.
    pub(crate) fn attempt(&self) -> Attempt<'_> {
        Attempt {
            pool: self,
            next: self.in_use.load(Ordering::Relaxed),
            left: self.endpoints.len(),
            wrong: Vec::new(),
            failure: None,
        }
    }

    /// Takes that endpoint into use.
    pub(crate) fn switch_to(&self, index: usize) {
        if self.in_use.swap(index, Ordering::Relaxed) != index
            && let Some(endpoint) = self.endpoints.get(index)
        {
            warn!(chain = %self.chain, endpoint = endpoint.label(), "using this endpoint from now on");
        }
    }

    /// Makes sure that the endpoint is what the configuration says.
    pub(crate) async fn verify(&self, endpoint: &Endpoint) -> Result<(), EvmError> {
        let mut standing = endpoint.standing.lock().await;
        match &*standing {
            Standing::Good => return Ok(()),
            Standing::Wrong { reason, until } if *until > Instant::now() => {
                return Err(EvmError::Wrong { endpoint: endpoint.label().to_owned(), reason: reason.clone() });
            }
            Standing::Wrong { .. } | Standing::Unknown => {}
        }
        let checked = self.expected.verify(endpoint).await;
        match &checked {
            Ok(()) => *standing = Standing::Good,
            Err(EvmError::Wrong { reason, .. }) => {
                error!(chain = %self.chain, endpoint = endpoint.label(), reason, "this endpoint is not used");
                *standing = Standing::Wrong { reason: reason.clone(), until: Instant::now() + WRONG_FOR };
            }
            Err(EvmError::Call(_) | EvmError::Client(_) | EvmError::Inconsistent { .. }) => {}
        }
        checked
    }
}

impl<'a> Attempt<'a> {
    /// The next endpoint to ask.
    ///
    /// # Errors
    /// When every endpoint has failed: why.
    pub(crate) async fn next(&mut self) -> Result<&'a Endpoint, SourceError> {
        while let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            let index = self.next % self.pool.endpoints.len().max(1);
            self.next = index.saturating_add(1);
            let Some(endpoint) = self.pool.endpoints.get(index) else { break };
            match self.pool.verify(endpoint).await {
                Ok(()) => {
                    self.pool.switch_to(index);
                    return Ok(endpoint);
                }
                Err(EvmError::Wrong { endpoint, reason }) => self.wrong.push(format!("{endpoint}: {reason}")),
                Err(failure) => self.failure = Some(failure),
            }
        }
        match self.failure.take() {
            Some(failure) => Err(SourceError::Unavailable(Box::new(failure))),
            None => Err(SourceError::Refused { reason: self.wrong.join("; ") }),
        }
    }

    /// The endpoint gave no usable answer. It is checked again before it is used again.
    pub(crate) async fn failed(&mut self, endpoint: &Endpoint, failure: EvmError) {
        *endpoint.standing.lock().await = Standing::Unknown;
        if self.left > 0 {
            warn!(chain = %self.pool.chain, error = &failure as &dyn std::error::Error, "trying the next endpoint");
        }
        self.failure = Some(failure);
    }
}
