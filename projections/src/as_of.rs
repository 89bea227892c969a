//! Which moment a question is about, on both axes: what was known (position, recorded time), and of what time (effective).

use sqlx::{PgPool, Row};
use wopay_domain::{MerchantId, Timestamp};

use crate::handler::FOLLOWER;
use crate::model::ReadModel;

/// The moment that an answer is for. Nothing given: everything that the read side knows now.
///
/// A position or a recorded time says what was *known*: an answer for one that has been reached never changes. An
/// effective time says what had *happened*, by the clocks of the chains; what is recorded later may still change it, unless
/// a position is given, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsOfPoint {
    /// Every event up to this position counts. Not together with `recorded`.
    pub position: Option<i64>,
    /// Every event recorded at or before this moment counts. One that is not over means: everything so far.
    pub recorded: Option<Timestamp>,
    /// Of those, what took effect at or before this moment.
    pub effective: Option<Timestamp>,
}

impl AsOfPoint {
    /// Everything that the read side knows now.
    pub const NOW: Self = Self { position: None, recorded: None, effective: None };

    /// As of a position.
    #[must_use]
    pub const fn position(position: i64) -> Self {
        Self { position: Some(position), ..Self::NOW }
    }
}

/// By which clock a period is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeAxis {
    /// When the event was recorded: the ledger's own order. Periods that are over never change.
    Recorded,
    /// When it took effect: the block's time for deposits. What is recorded late still counts for its own period.
    #[default]
    Effective,
}

/// From one moment up to, and without, another. An end that is not given is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// By which clock.
    pub axis: TimeAxis,
    /// The first moment that belongs to it.
    pub from: Option<Timestamp>,
    /// The first moment that no longer does.
    pub to: Option<Timestamp>,
}

/// Whose books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole ledger.
    All,
    /// The accounts of one merchant.
    Merchant(MerchantId),
}

impl Scope {
    /// The merchant, if it is one's.
    #[must_use]
    pub const fn merchant(self) -> Option<MerchantId> {
        match self {
            Self::All => None,
            Self::Merchant(merchant) => Some(merchant),
        }
    }
}

/// Why a question about the books has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The position is not there yet, or the read side has not come so far. Ask again later.
    #[error("position {position} has not been reached: the read side stands at {reached}")]
    NotReached {
        /// The position asked for.
        position: i64,
        /// The position of the last event applied.
        reached: i64,
    },
    /// Both a position and a recorded time: they say the same thing, maybe differently.
    #[error("give a position or a recorded time, not both")]
    TwoPoints,
    /// An effective time where the question is about periods of recording.
    #[error("a period by recorded time has no effective time")]
    MixedAxes,
    /// The database cannot be asked.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// A moment that is found: the bounds that queries use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The last position that counts.
    pub(crate) position: i64,
    /// The last effective time that counts.
    pub(crate) effective: Option<Timestamp>,
}

/// Finds the position that a point means.
pub(crate) async fn resolve(pool: &PgPool, point: AsOfPoint) -> Result<Moment, QueryError> {
    let reached = match (point.position, point.recorded) {
        (Some(_), Some(_)) => return Err(QueryError::TwoPoints),
        (_, recorded) => find(pool, recorded).await?,
    };
    let position = match point.position {
        Some(position) if position > reached => return Err(QueryError::NotReached { position, reached }),
        Some(position) => position.max(0),
        None => reached,
    };
    Ok(Moment { position, effective: point.effective.map(askable) })
}

/// The last position recorded before this moment, of those that the read side has applied.
pub(crate) async fn last_before(pool: &PgPool, moment: Timestamp) -> Result<i64, QueryError> {
    find(pool, Some(just_before(moment))).await
}

/// The last microsecond before a moment.
pub(crate) fn just_before(moment: Timestamp) -> Timestamp {
    let micros = askable(moment).timestamp_micros().saturating_sub(1);
    Timestamp::from_timestamp_micros(micros).unwrap_or(moment)
}

/// Postgres has no time before 4713 BC, and nothing of ours happened before 1970.
pub(crate) fn askable(moment: Timestamp) -> Timestamp {
    moment.max(Timestamp::UNIX_EPOCH)
}

/// How far the read side has come; with `recorded`, the last position up to there that was recorded at or before it. A
/// moment that is over is refused while the read side lacks events of it, and closed if it is newer than every event:
/// the answer would change.
async fn find(pool: &PgPool, recorded: Option<Timestamp>) -> Result<i64, QueryError> {
    let recorded = recorded.map(askable);
    let mut found = search(pool, recorded).await?;
    if let (Some(moment), true) = (recorded, found.is_open) {
        close(pool, moment).await?;
        found = search(pool, recorded).await?;
    }
    let Found { reached, position, is_lacking, .. } = found;
    if is_lacking {
        return Err(QueryError::NotReached { position: reached.saturating_add(1), reached });
    }
    // The search fell into a hole: the ledger lacks an event.
    position.ok_or(QueryError::Database(sqlx::Error::RowNotFound))
}

/// Where a moment stands among the positions.
struct Found {
    /// How far the read side has come; 0 while the journal was never filled.
    reached: i64,
    /// The last position that counts. `None`: a position is missing.
    position: Option<i64>,
    /// The moment is over, and the read side lacks an event of it.
    is_lacking: bool,
    /// The moment is over, and no event is known to be newer.
    is_open: bool,
}

/// A binary search over the positions, since later ones are never recorded earlier.
async fn search(pool: &PgPool, recorded: Option<Timestamp>) -> Result<Found, sqlx::Error> {
    let statement = "
        WITH RECURSIVE head (position) AS (
            SELECT COALESCE((
                SELECT position
                FROM follower_checkpoints
                WHERE name = $1 AND EXISTS (SELECT FROM projection_versions WHERE model = $3)
            ), 0)
        ),
        next (recorded_at) AS (
            SELECT events.recorded_at FROM head LEFT JOIN events ON events.position = head.position + 1
        ),
        search (low, high) AS (
            SELECT 0::bigint, position FROM head WHERE $2::timestamptz IS NOT NULL
            UNION ALL
            SELECT
                CASE WHEN probe.counts THEN probe.position ELSE search.low END,
                CASE WHEN probe.counts THEN search.high ELSE probe.position - 1 END
            FROM search
            CROSS JOIN LATERAL (
                SELECT events.position, events.recorded_at <= $2 AS counts
                FROM events
                WHERE events.position = (search.low + search.high + 1) / 2
            ) AS probe
            WHERE search.low < search.high
        )
        SELECT
            head.position AS reached,
            CASE WHEN $2 IS NULL THEN head.position ELSE found.low END AS found,
            COALESCE($2 < clock_timestamp() AND next.recorded_at <= $2, false) AS lacking,
            COALESCE($2 < clock_timestamp() AND next.recorded_at IS NULL AND found.low = head.position, false) AS open
        FROM head
        CROSS JOIN next
        LEFT JOIN search AS found ON found.low = found.high";
    let query = sqlx::query(statement).bind(FOLLOWER).bind(recorded).bind(ReadModel::Journal.as_str());
    let row = query.fetch_one(pool).await?;
    Ok(Found {
        reached: row.try_get("reached")?,
        position: row.try_get("found")?,
        is_lacking: row.try_get("lacking")?,
        is_open: row.try_get("open")?,
    })
}

/// Sees to it that nothing more is recorded at or before a moment that is over. An append reads the clock before it
/// commits, and a clock may be set back: so those under way are waited for, and later ones begin after the moment.
///
/// The commit does not wait for the disk, and appends not for it: what a crash loses matters only to a clock that is set
/// back as well.
async fn close(pool: &PgPool, moment: Timestamp) -> Result<(), sqlx::Error> {
    let statement = "
        UPDATE ledger_head
        SET recorded_at = $1::timestamptz + interval '1 microsecond'
        WHERE recorded_at <= $1 AND $1 < clock_timestamp()";
    let mut tx = pool.begin().await?;
    sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *tx).await?;
    sqlx::query(statement).bind(moment).execute(&mut *tx).await?;
    tx.commit().await
}
