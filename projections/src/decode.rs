//! Small conversions between columns and the domain's types.

use std::borrow::Cow;
use std::error::Error;
use std::str::FromStr;

use sqlx::postgres::PgRow;
use sqlx::{ColumnIndex, Row};
use wopay_domain::{AssetId, Money};

use crate::minor::MinorTotal;

/// Text that Postgres takes: it has no way to store NUL.
pub(crate) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// A count for an `integer` column; the largest one stands for everything above.
pub(crate) fn count(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Reads a text column that holds what `T` writes.
pub(crate) fn parsed<T>(row: &PgRow, column: &str) -> Result<T, sqlx::Error>
where
    T: FromStr,
    T::Err: Into<Box<dyn Error + Send + Sync>>,
{
    let text: String = row.try_get(column)?;
    text.parse().map_err(|error: T::Err| invalid(column, error))
}

/// Reads a whole-number column, selected as `::text`, as minor units.
pub(crate) fn money(row: &PgRow, column: &str, asset: &AssetId) -> Result<Money, sqlx::Error> {
    Ok(Money::new(parsed(row, column)?, asset.clone()))
}

/// Reads a whole-number column, selected as `::text`, as a sum of minor units.
pub(crate) fn total(row: &PgRow, column: &str) -> Result<MinorTotal, sqlx::Error> {
    let text: &str = row.try_get(column)?;
    MinorTotal::parse(text).ok_or_else(|| invalid(column, format!("no whole number: {text:?}")))
}

/// Reads a column that is never negative.
pub(crate) fn unsigned<S, T>(row: &PgRow, column: &str) -> Result<T, sqlx::Error>
where
    for<'r> S: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    T: TryFrom<S>,
    T::Error: Into<Box<dyn Error + Send + Sync>>,
    for<'c> &'c str: ColumnIndex<PgRow>,
{
    let value: S = row.try_get(column)?;
    T::try_from(value).map_err(|error| invalid(column, error))
}

/// A column whose value the domain does not know.
pub(crate) fn invalid(column: &str, error: impl Into<Box<dyn Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: error.into() }
}
