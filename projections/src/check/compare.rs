//! Two tables row by row, in Postgres.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{PgConnection, Row};

use crate::model::ReadModel;
use crate::rebuild::{RebuildError, Shadow};

/// What the comparison of a table found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableCheck {
    /// The read model.
    pub model: ReadModel,
    /// The table.
    pub table: &'static str,
    /// Rows that the events make.
    pub rows: i64,
    /// Rows that the events make and that are not there.
    pub missing: i64,
    /// Rows that are there and that no event makes.
    pub unexpected: i64,
    /// Rows that say something else.
    pub altered: i64,
    /// The first of all these, by key.
    pub first: Vec<Difference>,
}

impl TableCheck {
    /// Rows that are not what the events make of them.
    #[must_use]
    pub const fn differences(&self) -> i64 {
        self.missing.saturating_add(self.unexpected).saturating_add(self.altered)
    }
}

/// A row that is not what the events make of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The primary key, a JSON value for each of its columns.
    pub key: Vec<Column>,
    /// What is wrong.
    pub found: Found,
}

/// A column and its value as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its value as Postgres writes it in JSON.
    pub value: String,
}

/// How a row differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// The events make the row, and it is not there.
    Missing,
    /// The row is there, and no event makes it.
    Unexpected,
    /// Columns of the row say something else: as stored, and as the events make them.
    Altered(Vec<(Column, Column)>),
}

/// Compares the live table with the new one, in the snapshot of `connection`'s transaction.
pub(super) async fn table(
    connection: &mut PgConnection,
    shadow: &Shadow,
    model: ReadModel,
    table: &'static str,
    first: u32,
) -> Result<TableCheck, RebuildError> {
    let key = key(connection, &shadow.live(table)).await?;
    if key.is_empty() {
        return Err(RebuildError::NoKey(table));
    }
    let sides = Sides { live: shadow.live(table), beside: shadow.beside(table), key };
    let (rows, missing, unexpected, altered) = sides.count(connection).await?;
    let any = missing > 0 || unexpected > 0 || altered > 0;
    let first = if any { sides.first(connection, first).await? } else { Vec::new() };
    Ok(TableCheck { model, table, rows, missing, unexpected, altered, first })
}

/// The columns of a table's primary key: names, and names as SQL wants them.
async fn key(connection: &mut PgConnection, table: &str) -> Result<Vec<(String, String)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT attribute.attname::text, quote_ident(attribute.attname)
         FROM pg_index AS index
         CROSS JOIN LATERAL unnest(index.indkey) WITH ORDINALITY AS part (number, place)
         JOIN pg_attribute AS attribute
             ON attribute.attrelid = index.indrelid AND attribute.attnum = part.number
         WHERE index.indrelid = to_regclass($1) AND index.indisprimary
         ORDER BY part.place",
    )
    .bind(table)
    .fetch_all(connection)
    .await
}

struct Sides {
    live: String,
    beside: String,
    key: Vec<(String, String)>,
}

impl Sides {
    /// Every key with what either side has for it. A side that lacks the row is NULL as a whole, which a row of a table
    /// with a key never is.
    fn joined(&self) -> String {
        let Self { live, beside, .. } = self;
        format!("{live} AS stored FULL JOIN {beside} AS made USING ({})", self.key())
    }

    fn key(&self) -> String {
        self.key.iter().map(|(_, quoted)| quoted.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Rows are compared as images, which is fast; what differs so only (the same number in another encoding) does not
    /// differ as text.
    const ALTERED: &str = "stored *<> made AND stored::text <> made::text";

    async fn count(&self, connection: &mut PgConnection) -> Result<(i64, i64, i64, i64), sqlx::Error> {
        let statement = format!(
            "SELECT
                 count(made.*),
                 count(*) FILTER (WHERE stored.* IS NULL),
                 count(*) FILTER (WHERE made.* IS NULL),
                 count(*) FILTER (WHERE {})
             FROM {}",
            Self::ALTERED,
            self.joined()
        );
        sqlx::query_as(&statement).fetch_one(connection).await
    }

    async fn first(&self, connection: &mut PgConnection, limit: u32) -> Result<Vec<Difference>, sqlx::Error> {
        let statement = format!(
            "SELECT row_to_json(stored)::text AS stored, row_to_json(made)::text AS made
             FROM {}
             WHERE stored.* IS NULL OR made.* IS NULL OR ({})
             ORDER BY {}
             LIMIT $1",
            self.joined(),
            Self::ALTERED,
            self.key(),
        );
        let rows = sqlx::query(&statement).bind(i64::from(limit)).fetch_all(connection).await?;
        rows.iter().map(|row| self.difference(row.try_get("stored")?, row.try_get("made")?)).collect()
    }

    fn difference(&self, stored: Option<&str>, made: Option<&str>) -> Result<Difference, sqlx::Error> {
        let stored = stored.map(columns).transpose()?;
        let made = made.map(columns).transpose()?;
        let column = |(name, value): (&String, &String)| Column { name: name.clone(), value: value.clone() };
        let row = made.as_ref().or(stored.as_ref());
        let key = self.key.iter().filter_map(|(name, _)| row?.get_key_value(name).map(column)).collect();
        let found = match (&stored, &made) {
            (None, _) => Found::Missing,
            (_, None) => Found::Unexpected,
            (Some(stored), Some(made)) => Found::Altered(
                stored
                    .iter()
                    .zip(made)
                    .filter(|(stored, made)| stored.1 != made.1)
                    .map(|(stored, made)| (column(stored), column(made)))
                    .collect(),
            ),
        };
        Ok(Difference { key, found })
    }
}

/// The columns of a row as JSON, each value as it is written: numbers wider than any integer of ours stay exact.
fn columns(row: &str) -> Result<BTreeMap<String, String>, sqlx::Error> {
    let columns: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(row).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(columns.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect())
}
