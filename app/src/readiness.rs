//! Whether this process should get work, from what its roles know of themselves.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgPool;
use wopay_api::{Check, Readiness};
use wopay_audit::{SealState, SealerStatus};
use wopay_chain_watchers::{ChainHealth, ChainState, ChainStatus};
use wopay_eventbus::{Bus, FollowerStatus};

use crate::roles::ReadSide;

/// How long Postgres may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What this process looks at.
pub(crate) struct Checks {
    pool: PgPool,
    bus: Bus,
    followers: Vec<FollowerStatus>,
    read_side: Option<ReadSide>,
    chains: Vec<ChainStatus>,
    sealer: Option<SealerStatus>,
}

impl Checks {
    pub(crate) fn new(pool: PgPool, bus: Bus) -> Self {
        Self { pool, bus, followers: Vec::new(), read_side: None, chains: Vec::new(), sealer: None }
    }

    pub(crate) fn follow(&mut self, follower: FollowerStatus) {
        self.followers.push(follower);
    }

    pub(crate) fn read_side(&mut self, read_side: ReadSide) {
        self.read_side = Some(read_side);
    }

    pub(crate) fn watch(&mut self, chain: ChainStatus) {
        self.chains.push(chain);
    }

    pub(crate) fn seal(&mut self, sealer: SealerStatus) {
        self.sealer = Some(sealer);
    }

    async fn postgres(&self) -> Check {
        let asked = tokio::time::timeout(ANSWER_WITHIN, sqlx::query("SELECT 1").execute(&self.pool)).await;
        let detail = match asked {
            Ok(Ok(_)) => None,
            // The cause may name hosts and users: it is in the log.
            Ok(Err(_)) => Some("Postgres refuses".to_owned()),
            Err(_) => Some("Postgres does not answer".to_owned()),
        };
        Check { name: "postgres".to_owned(), ready: detail.is_none(), critical: true, detail }
    }

    /// NATS is worth knowing about; without it followers poll Postgres, so work goes on.
    fn nats(&self) -> Check {
        let detail = (!self.bus.is_connected()).then(|| "not connected: followers poll Postgres".to_owned());
        Check { name: "nats".to_owned(), ready: true, critical: false, detail }
    }
}

#[async_trait]
impl Readiness for Checks {
    async fn checks(&self) -> Vec<Check> {
        let mut checks = vec![self.postgres().await, self.nats()];
        checks.extend(self.read_side.iter().map(read_side));
        checks.extend(self.followers.iter().map(follower));
        checks.extend(chains(&self.chains));
        checks.extend(self.sealer.iter().map(sealer));
        checks
    }
}

fn follower(status: &FollowerStatus) -> Check {
    let name = format!("follower:{}", status.name());
    match status.poisoned() {
        Some(reason) => Check { name, ready: false, critical: true, detail: Some(reason) },
        None if status.has_started() => {
            Check { name, ready: true, critical: true, detail: Some(format!("lag {}", status.lag())) }
        }
        None => Check { name, ready: false, critical: true, detail: Some("starting".to_owned()) },
    }
}

/// Rows of an older version answer requests meanwhile, and nothing new reaches them.
fn read_side(status: &ReadSide) -> Check {
    let detail = status.waiting();
    Check { name: "read models".to_owned(), ready: detail.is_none(), critical: true, detail }
}

/// Every chain. One that is halted or refused needs a person, and is no reason to keep work from the others: only when
/// none is left, this process has nothing to do.
fn chains(statuses: &[ChainStatus]) -> Vec<Check> {
    let mut checks: Vec<Check> = statuses.iter().map(|status| chain(&status.health())).collect();
    if checks.iter().any(|check| check.ready) {
        // Those that are starting are waited for, unless something keeps them from it.
        for (check, status) in checks.iter_mut().zip(statuses) {
            let health = status.health();
            check.critical = health.state == ChainState::Starting && health.last_error.is_none();
        }
    }
    checks
}

/// A chain whose node is away or behind is only late.
fn chain(health: &ChainHealth) -> Check {
    let name = format!("chain:{}", health.chain);
    let troubles = chain_troubles(health);
    let (ready, detail) = match &health.state {
        ChainState::Starting => (false, health.last_error.clone().unwrap_or_else(|| "starting".to_owned())),
        ChainState::Following { height, head } => (true, format!("height {height} of {head}{troubles}")),
        ChainState::Behind { height, head, reason } => {
            (true, format!("behind at height {height} of {head}: {reason}{troubles}"))
        }
        ChainState::Halted { reason } => (false, format!("halted: {reason}")),
        ChainState::Refused { reason } => (false, format!("refused: {reason}")),
    };
    Check { name, ready, critical: true, detail: Some(detail) }
}

/// What goes on beside: an error, deposits that are held, endpoints that are not as they should be.
fn chain_troubles(health: &ChainHealth) -> String {
    let endpoints = health.endpoints.iter().filter_map(|endpoint| {
        Some(format!("endpoint {} is {}: {}", endpoint.endpoint, endpoint.state.name(), endpoint.state.reason()?))
    });
    let troubles = health.last_error.iter().chain(&health.held).cloned().chain(endpoints);
    troubles.flat_map(|trouble| ["; ".to_owned(), trouble]).collect()
}

/// A sealer that refuses needs a person: what it would have to sign is not what was signed before.
fn sealer(status: &SealerStatus) -> Check {
    let (ready, detail) = match status.state() {
        SealState::Starting => (false, "starting".to_owned()),
        SealState::Standby => (true, "another instance seals".to_owned()),
        SealState::Sealing { size, head, copy_error: None } => (true, format!("sealed {size} of {head}")),
        SealState::Sealing { copy_error: Some(error), .. } => (true, format!("sealed, but {error}")),
        SealState::Refused { reason } => (false, format!("refused: {reason}")),
        SealState::Failing { reason } => (false, reason),
    };
    Check { name: "audit".to_owned(), ready, critical: true, detail: Some(detail) }
}
