//! The endpoints of one chain: one is in use, the others wait for it to fail.
//!
//! Everything that belongs to one block is asked of one endpoint. It stays in use until it fails; then the whole block
//! is asked of the next. An endpoint is checked (chain id, tokens) before its first answer is believed, and again after
//! every failure.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{error, warn};
use wopay_domain::ChainName;

use crate::source::SourceError;

/// How long an endpoint that is not what it should be is left alone.
const WRONG_FOR: Duration = Duration::from_secs(8);

/// An endpoint of any chain family.
#[async_trait]
pub(crate) trait Node: Send + Sync {
    type Failure: Failure;

    /// Host and port.
    fn label(&self) -> &str;

    /// What is known of it.
    fn standing(&self) -> &Mutex<Standing>;

    /// Asks it whether it is what the configuration says.
    async fn verify(&self) -> Result<(), Self::Failure>;
}

/// Why an endpoint gave no usable answer.
pub(crate) trait Failure: std::error::Error + Send + Sync + 'static {
    /// In what the endpoint is not what the configuration says, if that is the reason.
    fn mismatch(&self) -> Option<&str>;
}

/// What is known of an endpoint.
#[derive(Debug)]
pub(crate) enum Standing {
    /// It has to be checked before it is used: it is new, or has just failed (and may be another node when it is back).
    Unknown,
    /// It is what the configuration says.
    Good,
    /// It is not; it is not looked at again before that moment.
    Wrong { reason: String, until: Instant },
}

#[derive(Debug)]
pub(crate) struct Pool<N> {
    chain: ChainName,
    endpoints: Vec<N>,
    in_use: AtomicUsize,
}

/// One try at something, at as many endpoints as it takes.
pub(crate) struct Attempt<'a, N: Node> {
    pool: &'a Pool<N>,
    next: usize,
    left: usize,
    wrong: Vec<String>,
    failure: Option<N::Failure>,
}

impl<N: Node> Pool<N> {
    pub(crate) fn new(chain: ChainName, endpoints: Vec<N>) -> Self {
        Self { chain, endpoints, in_use: AtomicUsize::new(0) }
    }

    pub(crate) fn endpoints(&self) -> &[N] {
        &self.endpoints
    }

    /// Begins with the endpoint in use.
    pub(crate) fn attempt(&self) -> Attempt<'_, N> {
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
    pub(crate) async fn verify(&self, endpoint: &N) -> Result<(), Unusable<N::Failure>> {
        let mut standing = endpoint.standing().lock().await;
        match &*standing {
            Standing::Good => return Ok(()),
            Standing::Wrong { reason, until } if *until > Instant::now() => {
                return Err(Unusable::Wrong(reason.clone()));
            }
            Standing::Wrong { .. } | Standing::Unknown => {}
        }
        let Err(failure) = endpoint.verify().await else {
            *standing = Standing::Good;
            return Ok(());
        };
        let Some(reason) = failure.mismatch().map(str::to_owned) else { return Err(Unusable::Failed(failure)) };
        error!(chain = %self.chain, endpoint = endpoint.label(), reason, "this endpoint is not used");
        *standing = Standing::Wrong { reason: reason.clone(), until: Instant::now() + WRONG_FOR };
        Err(Unusable::Wrong(reason))
    }
}

/// Why an endpoint cannot be used now.
pub(crate) enum Unusable<F> {
    /// It is not what the configuration says: in this.
    Wrong(String),
    /// It could not be asked.
    Failed(F),
}

impl<'a, N: Node> Attempt<'a, N> {
    /// The next endpoint to ask.
    ///
    /// # Errors
    /// When every endpoint has failed: why.
    pub(crate) async fn next(&mut self) -> Result<&'a N, SourceError> {
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
                Err(Unusable::Wrong(reason)) => self.wrong.push(format!("{}: {reason}", endpoint.label())),
                Err(Unusable::Failed(failure)) => self.failure = Some(failure),
            }
        }
        match self.failure.take() {
            Some(failure) => Err(SourceError::Unavailable(Box::new(failure))),
            None => Err(SourceError::Refused { reason: self.wrong.join("; ") }),
        }
    }

    /// The endpoint gave no usable answer. It is checked again before it is used again.
    pub(crate) async fn failed(&mut self, endpoint: &N, failure: N::Failure) {
        *endpoint.standing().lock().await = Standing::Unknown;
        if self.left > 0 {
            warn!(chain = %self.pool.chain, error = &failure as &dyn std::error::Error, "trying the next endpoint");
        }
        self.failure = Some(failure);
    }
}
