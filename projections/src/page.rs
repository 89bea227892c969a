//! Answers that say of which moment they are, and lists that are read in pages.

use std::fmt;
use std::str::FromStr;

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;
use wopay_domain::Timestamp;

/// An answer, and the ledger position up to which it takes events into account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsOf<T> {
    /// Every event up to this position counts, none after it does.
    pub as_of_position: i64,
    /// The answer.
    pub value: T,
}

/// Part of a list, with places of type `C`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C = Cursor> {
    /// Every event up to this position counts, none after it does.
    pub as_of_position: i64,
    /// In the list's order.
    pub items: Vec<T>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<C>,
}

/// A place in a list that is ordered by creation: right after this item. Its text is opaque to callers and stays valid
/// while items come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) created_at: Timestamp,
    pub(crate) id: Uuid,
}

/// Why a text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor that this list gave out")]
pub struct CursorError;

const MICROS_DIGITS: usize = 16;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{}", self.created_at.timestamp_micros(), self.id.simple())
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != MICROS_DIGITS + 32 || !text.bytes().all(lower_hex) {
            return Err(CursorError);
        }
        let (micros, id) = text.split_at(MICROS_DIGITS);
        // Digits beyond the sign bit are no `i64`, so times before 1970 are refused. Postgres keeps years up to 294276,
        // Chrono up to 262143: whatever is read here can be asked there.
        let micros = i64::from_str_radix(micros, 16).map_err(|_| CursorError)?;
        let created_at = Timestamp::from_timestamp_micros(micros);
        Ok(Self { created_at: created_at.ok_or(CursorError)?, id: Uuid::parse_str(id).map_err(|_| CursorError)? })
    }
}

/// Reads rows that carry `as_of_position`. The query joins its rows to the one row of the checkpoint, so an empty answer
/// is one row whose column `present` is NULL.
pub(crate) fn as_of<T>(
    rows: &[PgRow],
    present: &str,
    decode: impl Fn(&PgRow) -> Result<T, sqlx::Error>,
) -> Result<AsOf<Vec<T>>, sqlx::Error> {
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let as_of_position = first.try_get("as_of_position")?;
    let mut value = Vec::with_capacity(rows.len());
    for row in rows {
        if !is_null(row, present)? {
            value.push(decode(row)?);
        }
    }
    Ok(AsOf { as_of_position, value })
}

fn is_null(row: &PgRow, column: &str) -> Result<bool, sqlx::Error> {
    use sqlx::ValueRef;
    Ok(row.try_get_raw(column)?.is_null())
}

/// Cuts an answer of up to `limit + 1` items into a page of `limit`.
pub(crate) fn page<T, C>(answer: AsOf<Vec<T>>, limit: u16, cursor: impl Fn(&T) -> C) -> Page<T, C> {
    let AsOf { as_of_position, value: mut items } = answer;
    let limit = usize::from(limit);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = if more { items.last().map(cursor) } else { None };
    Page { as_of_position, items, next }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test reports by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        for micros in [0, 1, 1_790_000_000_123_456] {
            let created_at = Timestamp::from_timestamp_micros(micros).unwrap();
            let cursor = Cursor { created_at, id: Uuid::now_v7() };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn other_texts_are_no_cursors() {
        let far = format!("7fffffffffffffff{}", Uuid::nil().simple());
        let early = format!("{:016x}{}", -1_i64, Uuid::nil().simple());
        for text in ["", "abc", "é", &"é".repeat(24), &"g".repeat(48), &"A".repeat(48), &"-".repeat(48), &far, &early]
        {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text}");
        }
    }
}
