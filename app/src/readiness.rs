//! Whether this process should get work, from what its roles know of themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgPool;
use wopay_api::{Check, Readiness};
use wopay_audit::{SealState, SealerStatus};
use wopay_chain_watchers::{ChainHealth, ChainState, ChainStatus};
use wopay_domain::ChainName;
use wopay_eventbus::{Bus, FollowerStatus};

use crate::chain_tables::ChainTables;
use crate::roles::ReadSide;

/// How long Postgres may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What this process looks at.
pub(crate) struct Checks {
    pool: PgPool,
    bus: Bus,
    followers: Vec<FollowerStatus>,
    read_side: Option<ReadSide>,
    chains: WatchedChains,
    added: Option<ChainTables>,
    sealer: Option<SealerStatus>,
}

impl Checks {
    pub(crate) fn new(pool: PgPool, bus: Bus) -> Self {
        let (followers, chains) = (Vec::new(), WatchedChains::default());
        Self { pool, bus, followers, read_side: None, chains, added: None, sealer: None }
    }

    pub(crate) fn follow(&mut self, follower: FollowerStatus) {
        self.followers.push(follower);
    }

    pub(crate) fn read_side(&mut self, read_side: ReadSide) {
        self.read_side = Some(read_side);
    }

    /// Where the watchers of this process are shown, also those that begin later.
    pub(crate) fn watched(&self) -> WatchedChains {
        self.chains.clone()
    }

    /// Says so when there is no table for a chain that was added.
    pub(crate) fn added_chains(&mut self, tables: ChainTables) {
        self.added = Some(tables);
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

    /// Every chain. One that is halted, refused or not served needs a person, and is no reason to keep work from the
    /// others: only when none is left, who watches has nothing to do.
    fn chains(&self) -> Vec<Check> {
        let watched = self.chains.all().clone();
        let mut checks: Vec<Check> = watched.iter().map(|(name, watched)| chain(name, watched)).collect();
        let none_is_ready = !checks.iter().any(|check| check.ready);
        for (check, watched) in checks.iter_mut().zip(watched.values()) {
            let starting = watched.status.as_ref().map(ChainStatus::health);
            let starting =
                starting.is_ok_and(|health| health.state == ChainState::Starting && health.last_error.is_none());
            // Those that are starting are waited for, unless something keeps them from it, or they came later.
            check.critical = if starting { watched.since_start } else { none_is_ready };
        }
        let unserved = self.added.iter().flat_map(ChainTables::unserved).map(|(name, reason)| {
            let critical = none_is_ready && !watched.is_empty();
            Check { name: format!("chain:{name}"), ready: false, critical, detail: Some(reason) }
        });
        checks.extend(unserved);
        checks
    }
}

/// The chains that a process watches. They begin, and may end, while it runs; a cheap clone.
#[derive(Clone, Default)]
pub(crate) struct WatchedChains(Arc<RwLock<BTreeMap<ChainName, Watched>>>);

/// A chain that is to be watched.
#[derive(Clone)]
struct Watched {
    /// Or why it cannot be.
    status: Result<ChainStatus, String>,
    /// What is added later keeps no work from the others while it starts.
    since_start: bool,
}

impl WatchedChains {
    /// This chain is watched from now on; `since_start`: the process is not ready before it follows.
    pub(crate) fn began(&self, chain: ChainName, status: ChainStatus, since_start: bool) {
        self.all().insert(chain, Watched { status: Ok(status), since_start });
    }

    /// This chain cannot be watched, for that reason.
    pub(crate) fn failed(&self, chain: ChainName, reason: String) {
        self.all().insert(chain, Watched { status: Err(reason), since_start: false });
    }

    /// This chain is watched no longer.
    pub(crate) fn ended(&self, chain: &ChainName) {
        self.all().remove(chain);
    }

    fn all(&self) -> RwLockWriteGuard<'_, BTreeMap<ChainName, Watched>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Readiness for Checks {
    async fn checks(&self) -> Vec<Check> {
        let mut checks = vec![self.postgres().await, self.nats()];
        checks.extend(self.read_side.iter().map(read_side));
        checks.extend(self.followers.iter().map(follower));
        checks.extend(self.chains());
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

/// A chain whose node is away or behind is only late.
fn chain(name: &ChainName, watched: &Watched) -> Check {
    let name = format!("chain:{name}");
    let health = match &watched.status {
        Ok(status) => status.health(),
        Err(reason) => return Check { name, ready: false, critical: true, detail: Some(reason.clone()) },
    };
    let health = &health;
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
