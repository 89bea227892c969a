//! Are the live tables what the events make of them?
//!
//! A check builds new tables beside the live ones, exactly as a rebuild does; holds the follower at a position for the
//! moment in which the last events are applied and a snapshot is taken that sees both sides there; lets it go; and
//! compares the snapshot's rows at leisure, by primary key. Then the new tables are dropped. Readers and the follower go
//! on throughout.

mod compare;

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection, PgPool};
use wopay_eventbus::checkpoint;

use crate::handler::FOLLOWER;
use crate::profiles::Profiles;
use crate::rebuild::{Build, Progress, RebuildError, Stage, detached, models};

pub use compare::{Column, Difference, Found, TableCheck};

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Both sides stood here: so many events were applied.
    pub position: i64,
    /// Every table of the models checked.
    pub tables: Vec<TableCheck>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Checked {
    /// Rows that are not what the events make of them.
    #[must_use]
    pub fn differences(&self) -> i64 {
        self.tables.iter().map(TableCheck::differences).sum()
    }
}

/// Compares the read model of this name, or all of them, with what the events make of it. `first` differences of each
/// table are named.
///
/// `owner` is as for a rebuild, and the two exclude each other.
///
/// # Errors
/// See [`RebuildError`]. Live tables are never touched.
pub async fn check(
    owner: &PgPool,
    profiles: &dyn Profiles,
    name: Option<&str>,
    first: u32,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Checked, RebuildError> {
    let started = Instant::now();
    let mut build = Build::claim(owner, profiles, models(name)?, &progress).await?;
    let done = match build.load().await {
        Ok(()) => finish(&mut build, first).await,
        Err(error) => Err(error),
    };
    build.close().await;
    let (position, tables) = done?;
    Ok(Checked { position, tables, elapsed: started.elapsed() })
}

async fn finish(build: &mut Build<'_>, first: u32) -> Result<(i64, Vec<TableCheck>), RebuildError> {
    let mut holder = detached(build.pool()).await?;
    let position = meet(build, &mut holder).await?;
    build.tell(Stage::Comparing);
    let mut tables = Vec::new();
    for model in &build.models {
        for table in model.tables() {
            tables.push(compare::table(&mut build.connection, &build.shadow, *model, table, first).await?);
        }
    }
    // The snapshot was only read.
    sqlx::query("COMMIT").execute(&mut build.connection).await?;
    Ok((position, tables))
}

/// Brings the new tables to where the live ones stand and begins a transaction that sees both there. The follower waits
/// for `holder` meanwhile, and for nothing after that.
async fn meet(build: &mut Build<'_>, holder: &mut PgConnection) -> Result<i64, RebuildError> {
    let profiles = build.profiles();
    let mut held = holder.begin().await?;
    let position = checkpoint::lock(&mut held, FOLLOWER).await?;
    let mut tx = build.connection.begin().await?;
    Build::apply_rest(&mut tx, &build.models, profiles, (build.position, position)).await?;
    tx.commit().await?;
    build.position = position;
    sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut build.connection).await?;
    // The first statement takes the snapshot.
    sqlx::query("SELECT 1").execute(&mut build.connection).await?;
    held.rollback().await?;
    Ok(position)
}
