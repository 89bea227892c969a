//! `as_of` and `effective_at`: of which moment an answer is, on both axes of time; and the cursors that keep it.

use std::fmt::{self, Display};
use std::str::FromStr;

use wopay_domain::Timestamp;
use wopay_projections::AsOfPoint;

use super::query::Query;
use super::read::{self, Read};

/// What is said of a text that is no cursor.
pub(crate) const CURSOR_EXPECTED: &str = "must be the next_cursor of a list";

/// A place in a list, with the position of the ledger as of which the list's first page was read. So all pages of a list
/// belong to one moment, whatever is appended while they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListCursor<C> {
    /// As of which the list is read.
    pub(crate) position: i64,
    /// Where it goes on.
    pub(crate) place: C,
}

impl<C: Display> Display for ListCursor<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.position, self.place)
    }
}

/// Why a text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoCursor;

impl<C: FromStr> FromStr for ListCursor<C> {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (position, place) = text.split_once('.').ok_or(NoCursor)?;
        let position = read::position(position).map_err(|_| NoCursor)?;
        Ok(Self { position, place: place.parse().map_err(|_| NoCursor)? })
    }
}

/// Takes `as_of` (a position, or a time of recording in RFC 3339) and `effective_at`.
pub(crate) fn take_moment(query: &mut Query) -> AsOfPoint {
    let as_of = query.take("as_of", as_of);
    let effective = query.take("effective_at", read::time);
    let (position, recorded) = match as_of {
        Some(KnownAt::Position(position)) => (Some(position), None),
        Some(KnownAt::Recorded(recorded)) => (None, Some(recorded)),
        None => (None, None),
    };
    AsOfPoint { position, recorded, effective }
}

/// As [`take_moment`], for lists: also takes `cursor`, which keeps the position of the first page.
pub(crate) fn take_moment_and_place<C: FromStr>(query: &mut Query) -> (AsOfPoint, Option<C>) {
    let mut point = take_moment(query);
    let cursor: Option<ListCursor<C>> = query.take("cursor", read::expected(CURSOR_EXPECTED));
    let Some(ListCursor { position, place }) = cursor else { return (point, None) };
    if point.recorded.is_some() || point.position.is_some_and(|given| given != position) {
        query.refuse("as_of", "invalid", "must not come with a cursor: it keeps the moment of the first page");
    }
    point.recorded = None;
    point.position = Some(position);
    (point, Some(place))
}

enum KnownAt {
    Position(i64),
    Recorded(Timestamp),
}

fn as_of(text: &str) -> Read<KnownAt> {
    let position = read::position(text).map(KnownAt::Position);
    let known = position.or_else(|_| read::time(text).map(KnownAt::Recorded));
    known.map_err(|_| "must be a position of the ledger or a time such as 2026-01-31T12:00:00Z (RFC 3339)".into())
}
