//! Makes read models again from the events, beside the live ones, and swaps them in.
//!
//! The new tables stand in a schema of their own, `<ledger's schema>_rebuild`, which comes first in the `search_path` of
//! the rebuild's connections: the same apply code, with the same SQL, fills them. While the live follower goes on, the
//! rebuild reads up to the follower's checkpoint, again and again until little is left. Then it takes the lock of that
//! checkpoint, which stops the follower at a position; applies what is missing up to exactly there; and moves the new
//! tables into the old ones' place, all in one transaction. So a read model can be rebuilt alone: at the moment of the
//! switch all of them stand at the same position, and one checkpoint stays enough for all. It is never moved.
//!
//! Whatever happens before the switch (a crash, an error, a lost connection), the live tables are as they were; the next
//! rebuild clears what was left.
//!
//! What makes it fast: the log is read by `COPY`, ahead of the decoding, ahead of the writing; each read model has a
//! writer of its own; batches are large, so that a payment whose events stand close together is written once; and
//! indexes that nobody needs while loading are made at the end. Memory is bounded by the batches under way.

mod build;
mod error;
mod indexes;
mod load;
mod progress;
mod shadow;

use std::time::{Duration, Instant};

use sqlx::{Connection, PgPool};
use wopay_eventbus::checkpoint;

use crate::handler::FOLLOWER;
use crate::model::ReadModel;
use crate::profiles::Profiles;
use crate::version;

pub(crate) use build::{Build, detached};
pub use error::RebuildError;
pub use progress::{Progress, Stage};
pub(crate) use shadow::Shadow;

/// How often the switch is tried when readers hold on to the tables: for about a minute.
const SWITCHES_MAX: u32 = 120;
/// Between two tries, for those who waited behind us.
const SWITCH_PAUSE: Duration = Duration::from_millis(200);

/// A rebuild that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// What was rebuilt.
    pub models: Vec<ReadModel>,
    /// The follower's checkpoint, at which the new tables stand: so many events were applied.
    pub position: i64,
    /// How long it took.
    pub elapsed: Duration,
}

/// The read model of this name, or all of them.
///
/// # Errors
/// [`RebuildError::UnknownModel`].
pub(crate) fn models(name: Option<&str>) -> Result<Vec<ReadModel>, RebuildError> {
    match name {
        None => Ok(ReadModel::ALL.to_vec()),
        Some(name) => match ReadModel::parse(name) {
            Some(model) => Ok(vec![model]),
            None => Err(RebuildError::UnknownModel(name.to_owned())),
        },
    }
}

/// Rebuilds the read model of this name, or all of them; see [`rebuild_models`].
///
/// # Errors
/// See [`RebuildError`]; nothing has changed then.
pub async fn rebuild(
    owner: &PgPool,
    profiles: &dyn Profiles,
    name: Option<&str>,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Rebuilt, RebuildError> {
    rebuild_models(owner, profiles, &models(name)?, progress).await
}

/// Rebuilds these read models up to the follower's checkpoint, and writes down that they are of this program's versions.
/// Runs beside a live follower and live readers, who see the old tables until the new ones are complete.
///
/// `owner` connects as a role that owns the tables (or is a member of the role that does) and may create a schema; the
/// follower's may be another. Uses a connection for each model and two more.
///
/// # Errors
/// See [`RebuildError`]; nothing has changed then.
pub async fn rebuild_models(
    owner: &PgPool,
    profiles: &dyn Profiles,
    models: &[ReadModel],
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Rebuilt, RebuildError> {
    let started = Instant::now();
    let mut build = Build::claim(owner, profiles, models.to_vec(), &progress).await?;
    let done = match build.load().await {
        Ok(()) => finish(&mut build, started).await,
        Err(error) => Err(error),
    };
    build.close().await;
    let rebuilt = Rebuilt { models: models.to_vec(), position: done?, elapsed: started.elapsed() };
    let names: Vec<_> = models.iter().map(|model| model.as_str()).collect();
    tracing::info!(position = rebuilt.position, elapsed = ?rebuilt.elapsed, models = ?names, "rebuilt");
    Ok(rebuilt)
}

/// Stops the follower, applies the rest, swaps. A reader that holds on to a table for long would make all later ones
/// wait for us: after a short while we let them pass and try again.
async fn finish(build: &mut Build<'_>, started: Instant) -> Result<i64, RebuildError> {
    let mut tries: u32 = 0;
    build.tell(Stage::Switching);
    loop {
        tries = tries.saturating_add(1);
        match switch(build, started).await {
            Err(error) if tries < SWITCHES_MAX && error.is_lock_conflict() => {
                tracing::debug!(tries, "readers hold on to the tables, trying again");
                tokio::time::sleep(SWITCH_PAUSE).await;
            }
            done => return done,
        }
    }
}

async fn switch(build: &mut Build<'_>, started: Instant) -> Result<i64, RebuildError> {
    let profiles = build.profiles();
    let Build { connection, shadow, models, position, .. } = build;
    let mut tx = connection.begin().await?;
    let target = checkpoint::lock(&mut tx, FOLLOWER).await?;
    Build::apply_rest(&mut tx, models, profiles, (*position, target)).await?;
    shadow.swap(&mut tx, models).await?;
    version::record_rebuilt(&mut tx, models, target, started.elapsed().as_secs_f64()).await?;
    sqlx::query("SET LOCAL synchronous_commit = on").execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(target)
}
