//! The role that keeps the read side: first makes its rows those of this version, then follows.
//!
//! After an upgrade that changed a read model, its rows are rebuilt beside the live tables and swapped in before this
//! process applies anything: until then readers see the old rows as they were, complete and a little late, and readiness
//! says how far the rebuild is. Another process that rebuilds already is waited for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use wopay_projections::{
    Progress, Projections, ReadModel, RebuildError, Standing, observe_lag, rebuild_models, standings,
};
use wopay_vault::Vault;

use super::Parts;
use super::followers::{self, Start};
use crate::context::Context;
use crate::readiness::Checks;

/// Before the versions are looked at again, when somebody else must act.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
const OBSERVE_LAG_EVERY: Duration = Duration::from_secs(5);

/// Why the read side is not followed yet; `None` when it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadSide(Arc<Mutex<Option<String>>>);

impl ReadSide {
    /// What is waited for.
    pub(crate) fn waiting(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, waiting: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
    }

    /// Says it in the log as well.
    fn wait_for(&self, what: String) {
        if self.waiting().as_ref() != Some(&what) {
            tracing::warn!(reason = what, "the read side waits");
        }
        self.set(Some(what));
    }
}

/// Keeps the read side.
///
/// # Errors
/// When merchants' profiles cannot be opened, or the database cannot be asked.
pub(super) async fn start(context: &Context, parts: &mut Parts, checks: &mut Checks) -> anyhow::Result<()> {
    let vault = context.vault().await?;
    let handler = Arc::new(Projections::new(Arc::new(vault.clone())));
    let before = if outdated(&context.workers).await.context("cannot read the versions of the read side")?.is_empty() {
        None
    } else {
        // Who may not rebuild can still wait for somebody who does.
        let owner = context.owner().await.inspect_err(|error| tracing::warn!(%error, "read models cannot be rebuilt"));
        let read_side = ReadSide::default();
        checks.read_side(read_side.clone());
        Some(Renewal { pool: context.workers.clone(), owner: owner.ok(), vault, read_side })
    };
    let token = parts.token();
    let start: Start = Box::pin(async move {
        if let Some(renewal) = before {
            renewal.run(&token).await;
        }
    });
    followers::follow_after(start, "projections", handler, context, parts, checks);
    let (pool, token) = (context.workers.clone(), parts.token());
    parts.spawn("projections lag", async move { observe(&pool, &token).await });
    Ok(())
}

/// Models whose rows are not this version's, and how they stand.
async fn outdated(pool: &PgPool) -> Result<Vec<(ReadModel, Standing)>, sqlx::Error> {
    let versions = standings(pool).await?.into_iter().map(|version| (version.model, version.standing));
    Ok(versions.filter(|(_, standing)| !matches!(standing, Standing::Current | Standing::Empty)).collect())
}

/// Makes the rows those of this version.
struct Renewal {
    pool: PgPool,
    owner: Option<PgPool>,
    vault: Vault,
    read_side: ReadSide,
}

impl Renewal {
    /// Returns when every row is of this version, or the token is cancelled.
    async fn run(self, token: &CancellationToken) {
        token
            .run_until_cancelled(async {
                while !self.step().await {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                self.read_side.set(None);
            })
            .await;
    }

    /// Looks, and rebuilds what it may. True when nothing is left to do.
    async fn step(&self) -> bool {
        let outdated = match outdated(&self.pool).await {
            Ok(outdated) if outdated.is_empty() => return true,
            Ok(outdated) => outdated,
            Err(error) => {
                self.read_side.wait_for(format!("the versions of the read side cannot be read: {error}"));
                return false;
            }
        };
        let names = |models: &[ReadModel]| models.iter().map(|model| model.as_str()).collect::<Vec<_>>().join(", ");
        let is_newer = |standing: &Standing| matches!(standing, Standing::Newer { .. });
        let newer: Vec<_> =
            outdated.iter().filter(|(_, standing)| is_newer(standing)).map(|(model, _)| *model).collect();
        if !newer.is_empty() {
            // Going back is a decision: the newer program may be running elsewhere, and would rebuild again.
            let names = names(&newer);
            self.read_side.wait_for(format!(
                "the rows of {names} are of a newer version: run that version, or `wopay projections rebuild` to go back"
            ));
            return false;
        }
        let models: Vec<_> = outdated.into_iter().map(|(model, _)| model).collect();
        let names = names(&models);
        let Some(owner) = &self.owner else {
            self.read_side.wait_for(format!(
                "the rows of {names} are of an older version, and this process may not rebuild them: run `wopay projections \
                 rebuild`"
            ));
            return false;
        };
        self.rebuild(owner, &models, &names).await
    }

    async fn rebuild(&self, owner: &PgPool, models: &[ReadModel], names: &str) -> bool {
        self.read_side.wait_for(format!("rebuilding {names}"));
        let told = |progress: Progress| {
            let Progress { stage, position, target } = progress;
            self.read_side.set(Some(format!("rebuilding {names}: {} {position} of {target} events", stage.as_str())));
        };
        match Box::pin(rebuild_models(owner, &self.vault, models, told)).await {
            Ok(_) => true,
            Err(RebuildError::Running) => {
                self.read_side.wait_for(format!("another process rebuilds {names}"));
                false
            }
            Err(error) => {
                let error = anyhow::Error::new(error);
                self.read_side.wait_for(format!("{names} cannot be rebuilt: {error:#}"));
                false
            }
        }
    }
}

async fn observe(pool: &PgPool, token: &CancellationToken) {
    loop {
        if let Err(error) = observe_lag(pool).await {
            tracing::debug!(%error, "how far the read side is behind stays unknown");
        }
        if token.run_until_cancelled(tokio::time::sleep(OBSERVE_LAG_EVERY)).await.is_none() {
            return;
        }
    }
}
