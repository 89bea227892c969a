//! What a process does. One binary; `--roles` splits it over processes and machines.

mod api;
mod followers;
mod projections;
mod signer;
mod watchers;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::str::FromStr;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wopay_commands::merchant_changes;

pub(crate) use api::serve_http;
pub(crate) use projections::ReadSide;
pub(crate) use watchers::watcher_config;

use crate::context::Context;
use crate::readiness::Checks;
use crate::scheduler;

/// A role of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// REST for merchants.
    Api,
    /// Announces committed events, and executes the commands that arrive over NATS.
    Relay,
    /// Keeps the read side.
    Projections,
    /// Plans and delivers webhooks.
    Webhooks,
    /// Watches the chains.
    Watchers,
    /// Commands that are due: deadlines.
    Scheduler,
    /// Holds the keys: derives addresses ahead, seals the audit log.
    Signer,
}

impl Role {
    /// Every role, in the order of the documentation.
    pub(crate) const ALL: [Self; 7] =
        [Self::Api, Self::Relay, Self::Projections, Self::Webhooks, Self::Watchers, Self::Scheduler, Self::Signer];

    /// Whether the role opens sealed values or the wallet. The others run without the master key.
    pub(crate) const fn needs_master_key(self) -> bool {
        match self {
            Self::Projections | Self::Webhooks | Self::Signer => true,
            Self::Api | Self::Relay | Self::Watchers | Self::Scheduler => false,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Relay => "relay",
            Self::Projections => "projections",
            Self::Webhooks => "webhooks",
            Self::Watchers => "watchers",
            Self::Scheduler => "scheduler",
            Self::Signer => "signer",
        }
    }

    /// The port of the service that the role is when it runs alone.
    const fn port_alone(self) -> u16 {
        match self {
            Self::Api => 8002,
            Self::Signer => 8003,
            Self::Watchers => 8004,
            Self::Webhooks => 8005,
            Self::Scheduler => 8006,
            Self::Relay => 8007,
            Self::Projections => 8008,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|role| role.name()).collect();
            format!("the roles are {}", names.join(", "))
        })
    }
}

/// Where a process listens that was told nothing: a role alone has a port of its own on the configured address.
pub(crate) fn listen_address(configured: SocketAddr, roles: &[Role]) -> SocketAddr {
    match roles {
        [role] => SocketAddr::new(configured.ip(), role.port_alone()),
        _ => configured,
    }
}

/// The running parts of a process. Each returns when the token is cancelled; one that returns before is a failure.
#[derive(Debug)]
pub(crate) struct Parts {
    tasks: JoinSet<&'static str>,
    token: CancellationToken,
}

impl Parts {
    pub(crate) fn new(token: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), token }
    }

    /// Runs a part until shutdown.
    pub(crate) fn spawn(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            part.await;
            name
        });
    }

    pub(crate) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Waits until shutdown is asked for, or a part fails; then stops the others and waits for them.
    ///
    /// # Errors
    /// When a part ended before it was asked to.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let failure = tokio::select! {
            // Parts end because of the token too: only what ends before it is a failure.
            biased;
            () = self.token.cancelled() => None,
            Some(ended) = self.tasks.join_next() => Some(match ended {
                Ok(name) => anyhow::anyhow!("the part {name} ended by itself"),
                Err(error) => anyhow::anyhow!("a part failed: {error}"),
            }),
        };
        self.token.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(name) => tracing::debug!(part = name, "stopped"),
                Err(error) => tracing::error!(error = %error, "a part failed while stopping"),
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

/// Keeps the catalogue of chains up with the ledger, where a role works with it. Who serves chains needs the tables of
/// those that are added; the signer needs to know their families alone.
async fn start_catalog(roles: &[Role], context: &Context, parts: &mut Parts, checks: &mut Checks) {
    if !roles.iter().any(|role| matches!(role, Role::Api | Role::Watchers | Role::Signer)) {
        return;
    }
    if roles.iter().any(|role| matches!(role, Role::Api | Role::Watchers)) {
        let tables = context.tables.clone();
        tables.look(&context.catalog, &context.ledger).await;
        checks.added_chains(tables.clone());
        parts.spawn(
            "tables of added chains",
            tables.follow(context.catalog.clone(), context.ledger.clone(), parts.token()),
        );
    }
    let catalog = context.catalog.clone();
    parts.spawn("chain catalogue", catalog.clone().follow(context.ledger.clone(), parts.token()));
    // The role `api` listens for itself and the catalogue.
    if !roles.contains(&Role::Api) {
        let watch =
            merchant_changes::watch(context.workers.clone(), parts.token(), move |change| catalog.apply(change));
        parts.spawn("chain changes", watch);
    }
}

/// Starts the parts of these roles, but for HTTP.
///
/// # Errors
/// When a part cannot be set up.
pub(crate) async fn start(
    roles: &[Role],
    context: &Context,
    parts: &mut Parts,
    checks: &mut Checks,
) -> anyhow::Result<()> {
    start_catalog(roles, context, parts, checks).await;
    for role in roles {
        match role {
            // Served by `serve_http`, which every process runs.
            Role::Api => {}
            Role::Relay => followers::start_relay(context, parts),
            Role::Projections => projections::start(context, parts, checks).await?,
            Role::Webhooks => followers::start_webhooks(context, parts, checks).await?,
            Role::Watchers => watchers::start(context, parts, checks)?,
            Role::Scheduler => {
                let (pool, ledger, token) = (context.workers.clone(), context.ledger.clone(), parts.token());
                parts.spawn("scheduler", scheduler::run(pool, ledger, token));
            }
            Role::Signer => signer::start(context, parts, checks).await?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

    use super::{Role, listen_address};

    #[test]
    fn a_role_alone_has_its_own_port() {
        let configured = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(listen_address(configured, &Role::ALL), configured);
        assert_eq!(listen_address(configured, &[Role::Signer]).port(), 8003);
    }

    #[test]
    fn roles_are_read_by_name() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert!("everything".parse::<Role>().unwrap_err().contains("watchers"));
    }
}
