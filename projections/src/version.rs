//! Which version of a read model the stored rows are of.
//!
//! The code that makes rows has a version ([`ReadModel::version`]), and so have the rows (`projection_versions`). They
//! differ after an upgrade that changed the code; then nobody may add to the rows until they are made again. Two places
//! see to it: the role `projections` rebuilds what is older before it follows ([`standings`]), and the handler looks at
//! the versions in the transaction of every batch ([`guard`]), so that a process of another version which is still
//! running when the tables are swapped stops instead of mixing its rows into them.

use std::fmt;

use sqlx::{PgConnection, PgExecutor, Row};
use wopay_domain::Timestamp;

use crate::error::{ApplyError, PoisonError};
use crate::handler::FOLLOWER;
use crate::model::ReadModel;

/// What the rows of a read model are, to this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was ever applied: there are no rows.
    Empty,
    /// Rows of this program's version.
    Current,
    /// Rows of an older version, or of none: to be rebuilt.
    Outdated {
        /// Theirs; `None` if the model was never filled, or by a program that knew no versions.
        stored: Option<i32>,
    },
    /// Rows of a newer version than this program knows: a newer program is, or was, at work.
    Newer {
        /// Theirs.
        stored: i32,
    },
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty"),
            Self::Current => f.write_str("current"),
            Self::Outdated { stored: Some(stored) } => write!(f, "outdated (version {stored})"),
            Self::Outdated { stored: None } => f.write_str("never built"),
            Self::Newer { stored } => write!(f, "newer (version {stored})"),
        }
    }
}

/// A read model's rows: their version, and when they were last rebuilt.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelVersion {
    /// The read model.
    pub model: ReadModel,
    /// How its rows stand to this program.
    pub standing: Standing,
    /// The last rebuild; `None` if the follower has made all rows from the first event on.
    pub rebuilt: Option<LastRebuild>,
}

/// A rebuild that was done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LastRebuild {
    /// When the new tables were swapped in.
    pub at: Timestamp,
    /// The position at which they were.
    pub position: i64,
    /// How long it took.
    pub seconds: f64,
}

/// Every read model's version, in the order of [`ReadModel::ALL`].
///
/// # Errors
/// When the database cannot be asked.
pub async fn standings<'e>(executor: impl PgExecutor<'e>) -> Result<Vec<ModelVersion>, sqlx::Error> {
    let names = ReadModel::ALL.map(ReadModel::as_str);
    let rows = sqlx::query(
        "SELECT
             known.model,
             stored.version,
             stored.rebuilt_at,
             stored.rebuilt_upto,
             stored.seconds,
             COALESCE((SELECT position FROM follower_checkpoints WHERE name = $2), 0) AS position
         FROM unnest($1::text[]) WITH ORDINALITY AS known (model, place)
         LEFT JOIN projection_versions AS stored USING (model)
         ORDER BY known.place",
    )
    .bind(names.as_slice())
    .bind(FOLLOWER)
    .fetch_all(executor)
    .await?;
    let mut versions = Vec::with_capacity(rows.len());
    for (model, row) in ReadModel::ALL.into_iter().zip(&rows) {
        let rebuilt = match (row.try_get("rebuilt_at")?, row.try_get("rebuilt_upto")?, row.try_get("seconds")?) {
            (Some(at), Some(position), Some(seconds)) => Some(LastRebuild { at, position, seconds }),
            _ => None,
        };
        let standing = standing(model, row.try_get("version")?, row.try_get("position")?);
        versions.push(ModelVersion { model, standing, rebuilt });
    }
    Ok(versions)
}

fn standing(model: ReadModel, stored: Option<i32>, position: i64) -> Standing {
    match stored {
        None if position == 0 => Standing::Empty,
        Some(stored) if stored == model.version() => Standing::Current,
        Some(stored) if stored > model.version() => Standing::Newer { stored },
        stored => Standing::Outdated { stored },
    }
}

/// Refuses a batch whose first event is at `first_position` while the stored rows are of another version. With the very
/// first event there are no rows yet: writes down the versions.
pub(crate) async fn guard(tx: &mut PgConnection, first_position: i64) -> Result<(), ApplyError> {
    if first_position == 1 {
        return Ok(record_all(tx).await?);
    }
    for ModelVersion { model, standing, .. } in standings(tx).await? {
        let stored = match standing {
            Standing::Current | Standing::Empty => continue,
            Standing::Outdated { stored } => stored,
            Standing::Newer { stored } => Some(stored),
        };
        let source = PoisonError::Version { model: model.as_str(), stored: stored.unwrap_or(0), ours: model.version() };
        return Err(ApplyError::poison(first_position, source));
    }
    Ok(())
}

async fn record_all(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    let models = ReadModel::ALL.map(ReadModel::as_str);
    let versions = ReadModel::ALL.map(ReadModel::version);
    sqlx::query(
        "INSERT INTO projection_versions (model, version)
         SELECT model, version
         FROM unnest($1::text[], $2::integer[]) AS ours (model, version)
         ON CONFLICT (model) DO UPDATE
         SET version      = EXCLUDED.version,
             rebuilt_at   = NULL,
             rebuilt_upto = NULL,
             seconds      = NULL",
    )
    .bind(models.as_slice())
    .bind(versions.as_slice())
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes down that these models were rebuilt up to `position`, by this program, in the transaction that swaps them in.
pub(crate) async fn record_rebuilt(
    tx: &mut PgConnection,
    models: &[ReadModel],
    position: i64,
    seconds: f64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO projection_versions (model, version, rebuilt_at, rebuilt_upto, seconds)
         SELECT model, version, clock_timestamp(), $3, $4
         FROM unnest($1::text[], $2::integer[]) AS rebuilt (model, version)
         ON CONFLICT (model) DO UPDATE
         SET version      = EXCLUDED.version,
             rebuilt_at   = EXCLUDED.rebuilt_at,
             rebuilt_upto = EXCLUDED.rebuilt_upto,
             seconds      = EXCLUDED.seconds",
    )
    .bind(models.iter().map(|model| model.as_str()).collect::<Vec<_>>())
    .bind(models.iter().map(|model| model.version()).collect::<Vec<_>>())
    .bind(position)
    .bind(seconds)
    .execute(tx)
    .await?;
    Ok(())
}
