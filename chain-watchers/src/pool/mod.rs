//! The endpoints of one chain, of any family.
//!
//! Everything that belongs to one block is asked of one endpoint; when that fails, the whole block is asked of the next.
//! Which endpoint is asked first follows from what is known of each ([`meter`], [`choice`]): a circuit breaker, the rate
//! of calls it takes, a budget of calls an hour, how fast it answers and how far its head is. Now and then all are asked
//! for their heads at the same time ([`survey`]), which is how they are compared and how a failed one is found to be back.
//! An endpoint is checked (chain id, tokens) before its first answer is believed, and again after every failure that may
//! mean another node. Above an amount several must say the same of a deposit's block ([`witness`]).
//!
//! Absent: a choice among answers. One endpoint's answer is taken whole or not at all.

pub(crate) mod attempt;
pub(crate) mod breaker;
pub(crate) mod budget;
pub(crate) mod choice;
pub(crate) mod meter;
pub(crate) mod rate;
mod survey;
mod witness;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as SyncMutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Mutex;
use tracing::{error, warn};
use wopay_domain::ChainName;

pub(crate) use self::attempt::Attempt;
pub(crate) use self::meter::{Meter, Outcome, Patience};
pub(crate) use self::witness::Testimony;
use crate::config::{RpcOptions, WatcherConfig};
use crate::status::EndpointHealth;

/// How long an endpoint that is not what it should be is left alone.
const WRONG_FOR: Duration = Duration::from_secs(8);
/// The endpoint in use is kept at least as long while nothing is wrong with it.
const KEPT_AT_LEAST: Duration = Duration::from_secs(30);

/// An endpoint of any chain family.
#[async_trait]
pub(crate) trait Node: Send + Sync + 'static {
    type Failure: Failure;

    /// Host and port.
    fn label(&self) -> &str;

    /// Whether it was found to be what the configuration says.
    fn standing(&self) -> &Mutex<Standing>;

    /// What is known of it from every call.
    fn meter(&self) -> &Meter;

    /// Asks it whether it is what the configuration says.
    async fn verify(&self) -> Result<(), Self::Failure>;

    /// Asks it for its newest block and notes that in its meter.
    async fn look_at_head(&self) -> Result<(), Self::Failure>;
}

/// Why an endpoint gave no usable answer.
pub(crate) trait Failure: std::error::Error + Send + Sync + 'static {
    /// In what the endpoint is not what the configuration says, if that is the reason.
    fn mismatch(&self) -> Option<&str>;

    /// Whether the endpoint was not asked, or refused to be asked as often: that says nothing about what it is.
    fn is_not_asked(&self) -> bool;
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

/// The endpoints of one chain.
#[derive(Debug)]
pub(crate) struct Pool<N>(Arc<Inner<N>>);

#[derive(Debug)]
struct Inner<N> {
    chain: ChainName,
    endpoints: Vec<N>,
    options: RpcOptions,
    in_use: AtomicUsize,
    /// When the endpoint in use was chosen.
    moved_at: SyncMutex<Option<Instant>>,
    /// When all were last asked for their heads.
    surveyed_at: SyncMutex<Option<Instant>>,
}

/// Why an endpoint cannot be used now.
pub(crate) enum Unusable<F> {
    /// It is not what the configuration says: in this.
    Wrong(String),
    /// It could not be asked.
    Failed(F),
}

impl<N: Node> Pool<N> {
    pub(crate) fn new(config: &WatcherConfig, endpoints: Vec<N>) -> Self {
        Self(Arc::new(Inner {
            chain: config.chain.name.clone(),
            endpoints,
            options: config.rpc_options,
            in_use: AtomicUsize::new(0),
            moved_at: SyncMutex::new(None),
            surveyed_at: SyncMutex::new(None),
        }))
    }

    pub(crate) fn endpoints(&self) -> &[N] {
        &self.0.endpoints
    }

    /// One try at something, which begins with the fittest endpoint.
    pub(crate) fn attempt(&self) -> Attempt<'_, N> {
        self.survey_when_due();
        let candidates: Vec<_> = self.0.endpoints.iter().map(|endpoint| endpoint.meter().candidate()).collect();
        let moved_at = self.0.moved_at.lock().ok().and_then(|moved_at| *moved_at);
        let may_move = moved_at.is_none_or(|at| at.elapsed() >= KEPT_AT_LEAST);
        let order = choice::order(&candidates, self.0.in_use.load(Ordering::Relaxed), may_move);
        Attempt::new(&self.0, order)
    }

    /// One try at something that endpoints may refuse and be as fit as before.
    pub(crate) fn attempt_aside(&self) -> Attempt<'_, N> {
        self.attempt().aside()
    }

    /// What the endpoint in use said contradicts what is known: others go before it, if there are any, until the next
    /// comparison of all, and for a while after that.
    pub(crate) fn doubt(&self, reason: &str) {
        let in_use = self.0.endpoints.get(self.0.in_use.load(Ordering::Relaxed));
        if let Some(endpoint) = in_use.filter(|_| self.0.endpoints.len() > 1) {
            warn!(chain = %self.0.chain, endpoint = endpoint.label(), reason, "this endpoint is doubted");
            endpoint.meter().strike();
            endpoint.meter().set_behind(Some(reason.to_owned()));
        }
    }

    /// How every endpoint is doing. Shows it in the metrics, too.
    pub(crate) fn health(&self) -> Vec<EndpointHealth> {
        let in_use = self.0.in_use.load(Ordering::Relaxed);
        let endpoints = self.0.endpoints.iter().enumerate();
        endpoints.map(|(index, endpoint)| endpoint.meter().health(index == in_use)).collect()
    }
}

impl<N: Node> Inner<N> {
    /// Takes that endpoint into use.
    fn switch_to(&self, index: usize) {
        if self.in_use.swap(index, Ordering::Relaxed) != index
            && let Some(endpoint) = self.endpoints.get(index)
        {
            warn!(chain = %self.chain, endpoint = endpoint.label(), "using this endpoint from now on");
            if let Ok(mut moved_at) = self.moved_at.lock() {
                *moved_at = Some(Instant::now());
            }
        }
    }

    /// Makes sure that the endpoint is what the configuration says.
    async fn verify(&self, endpoint: &N) -> Result<(), Unusable<N::Failure>> {
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
            endpoint.meter().set_wrong(None);
            return Ok(());
        };
        let Some(reason) = failure.mismatch().map(str::to_owned) else { return Err(Unusable::Failed(failure)) };
        error!(chain = %self.chain, endpoint = endpoint.label(), reason, "this endpoint is not used");
        let until = Instant::now().checked_add(WRONG_FOR).unwrap_or_else(Instant::now);
        *standing = Standing::Wrong { reason: reason.clone(), until };
        endpoint.meter().set_wrong(Some(reason.clone()));
        Err(Unusable::Wrong(reason))
    }
}
