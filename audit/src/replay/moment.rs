//! A moment of the ledger: a position, or a time at which things were recorded.

use std::str::FromStr;

use chrono::DateTime;
use sqlx::PgPool;
use wopay_domain::Timestamp;

use super::store;

/// A moment, as somebody names it: `1234` or `2026-11-23T18:00:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After the event at this position was recorded.
    Position(i64),
    /// When everything recorded up to this time, included, was there.
    Time(Timestamp),
}

/// Why a text names no moment, or the ledger has none such.
#[derive(Debug, thiserror::Error)]
pub enum MomentError {
    /// Neither a position nor a time.
    #[error("a moment is a position such as 1234 or a time such as 2026-11-23T18:00:00Z, got {0:?}")]
    Text(String),
    /// A position that lies ahead.
    #[error("position {wanted} lies ahead: the newest event is at {newest}")]
    Ahead {
        /// What was asked for.
        wanted: i64,
        /// What there is.
        newest: i64,
    },
    /// The database fails.
    #[error("the database fails")]
    Database(#[from] sqlx::Error),
}

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || MomentError::Text(text.to_owned());
        if let Ok(position) = text.parse::<i64>() {
            return if position >= 0 { Ok(Self::Position(position)) } else { Err(error()) };
        }
        DateTime::parse_from_rfc3339(text).map(|time| Self::Time(time.to_utc())).map_err(|_| error())
    }
}

/// A moment that the ledger has: everything up to `position` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsOf {
    /// The newest position that counts; 0 for none.
    pub position: i64,
    /// When that was recorded; 1970 for none.
    pub recorded_at: Timestamp,
}

/// The newest position that counts at a moment; without one, at the end of the ledger.
///
/// Times are looked up by bisection over positions, which are recorded in order of time.
///
/// # Errors
/// The position lies ahead, or the database fails.
pub async fn resolve(pool: &PgPool, moment: Option<Moment>) -> Result<AsOf, MomentError> {
    let newest = store::newest(pool).await?;
    let position = match moment {
        None => newest,
        Some(Moment::Position(wanted)) if wanted > newest => return Err(MomentError::Ahead { wanted, newest }),
        Some(Moment::Position(position)) => position,
        Some(Moment::Time(time)) => last_matching(pool, newest, |at| at <= time).await?,
    };
    let recorded_at = store::recorded_at(pool, position).await?.map_or(DateTime::UNIX_EPOCH, |(_, at)| at);
    Ok(AsOf { position, recorded_at })
}

/// The first position recorded at or after a moment.
///
/// # Errors
/// The database fails.
pub async fn first_at_or_after(pool: &PgPool, moment: Moment) -> Result<i64, MomentError> {
    match moment {
        Moment::Position(position) => Ok(position.max(1)),
        Moment::Time(time) => {
            let newest = store::newest(pool).await?;
            Ok(last_matching(pool, newest, |at| at < time).await?.saturating_add(1))
        }
    }
}

/// The last of the positions 1 to `newest` whose time matches, given that those which do come first.
async fn last_matching(pool: &PgPool, newest: i64, matches: impl Fn(Timestamp) -> bool) -> Result<i64, sqlx::Error> {
    let (mut last, mut beyond) = (0, newest.saturating_add(1));
    while beyond.saturating_sub(last) > 1 {
        let middle = last.midpoint(beyond);
        // A position that is missing (a ledger that was tampered with) takes the place of the next one there is.
        match store::recorded_at(pool, middle).await? {
            Some((position, at)) if position < beyond && matches(at) => last = position,
            _ => beyond = middle,
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

    use super::*;

    #[test]
    fn a_moment_is_a_position_or_a_time() {
        assert_eq!("12".parse::<Moment>().unwrap(), Moment::Position(12));
        let time = "2026-11-23T19:00:00+01:00".parse::<Moment>().unwrap();
        assert_eq!(time, Moment::Time(DateTime::from_timestamp(1_795_456_800, 0).unwrap()));
        assert!("-1".parse::<Moment>().is_err());
        assert!("yesterday".parse::<Moment>().is_err());
    }
}
