//! Answers as tables: CSV as RFC 4180 has it, with columns that never change their order.
//!
//! Spreadsheets run what looks like a formula, and some of our texts come from outside (labels, ids, names of assets). So
//! a cell that begins like one and is not a plain number gets an apostrophe in front, which shows it as text.

use std::borrow::Cow;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;
use wopay_domain::Timestamp;

use crate::error::internal;
use crate::problem::Problem;

/// The position of the ledger as of which a table is.
static AS_OF_POSITION: HeaderName = HeaderName::from_static("x-as-of-position");
/// Where the next page of a table begins.
static NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");

/// A cell of a table.
pub(crate) type Cell<'a> = Cow<'a, str>;

/// Something that can be a line of a table.
pub(crate) trait TableRow {
    /// The header line. Part of the API: new columns come last.
    const COLUMNS: &'static [&'static str];

    /// One cell for each column.
    fn cells(&self) -> Vec<Cell<'_>>;
}

/// What is known of a table besides its rows.
pub(crate) struct TableInfo<'a> {
    /// The file's name without its ending, such as `ledger-accounts`.
    pub(crate) name: &'static str,
    /// As of which position.
    pub(crate) as_of_position: i64,
    /// Where the next page begins.
    pub(crate) next_cursor: Option<&'a str>,
}

/// The table as an answer.
///
/// # Errors
/// None that is known: writing to memory cannot fail.
pub(crate) fn table<R: TableRow>(info: &TableInfo<'_>, rows: &[R]) -> Result<Response, Problem> {
    let text = write(rows).map_err(|error| internal(&error))?;
    let TableInfo { name, as_of_position, next_cursor } = info;
    let file = format!("attachment; filename=\"{name}-{as_of_position}.csv\"");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present")),
        (header::VARY, HeaderValue::from_static("accept")),
        (AS_OF_POSITION.clone(), HeaderValue::from(*as_of_position)),
    ];
    let mut response = (headers, text).into_response();
    let optional = [(header::CONTENT_DISPOSITION, Some(file.as_str())), (NEXT_CURSOR.clone(), *next_cursor)];
    for (name, value) in optional {
        // Names, numbers and cursors are visible ASCII.
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

fn write<R: TableRow>(rows: &[R]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(R::COLUMNS)?;
    for row in rows {
        writer.write_record(row.cells().iter().map(|cell| harmless(cell).into_owned()))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// A cell that no spreadsheet runs.
fn harmless(cell: &str) -> Cow<'_, str> {
    // Full-width forms begin a formula, too, in some locales.
    let suspicious =
        cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    if suspicious && !is_number(cell) { Cow::from(format!("'{cell}")) } else { Cow::from(cell) }
}

/// Whether this is a decimal number and nothing else.
fn is_number(cell: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = cell.strip_prefix('-').unwrap_or(cell);
    match unsigned.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(unsigned),
    }
}

/// A moment, always with six digits of fraction, so that texts sort like moments.
pub(crate) fn moment<'a>(time: Timestamp) -> Cell<'a> {
    time.to_rfc3339_opts(SecondsFormat::Micros, true).into()
}

/// A cell that may be empty.
pub(crate) fn optional<T: ToString>(value: Option<T>) -> Cell<'static> {
    value.map_or_else(Cell::default, |value| value.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::{Cell, TableRow, harmless, write};

    struct Row(&'static str, &'static str);

    impl TableRow for Row {
        const COLUMNS: &'static [&'static str] = &["a", "b"];

        fn cells(&self) -> Vec<Cell<'_>> {
            vec![self.0.into(), self.1.into()]
        }
    }

    #[test]
    fn what_looks_like_a_formula_is_text() {
        for cell in [
            "=1+1",
            "+1",
            "-1+1",
            "@SUM(A1)",
            "\tx",
            "\rx",
            "-",
            "-.5",
            "-1.",
            "--1",
            "-1e5",
            "\u{ff1d}1",
            "=cmd|' /C calc'!A0",
        ] {
            assert_eq!(harmless(cell), format!("'{cell}"), "{cell:?}");
        }
        for cell in ["", "1", "-1", "-0.000001", "100.50", "a=1", "merchant:1:payable", "'=1", " =1"] {
            assert_eq!(harmless(cell), cell);
        }
    }

    #[test]
    fn a_table_has_a_header_and_quotes_what_needs_it() {
        let rows = [Row("x,y", "say \"hi\""), Row("two\nlines", "=A1"), Row("", "-5")];
        let text = String::from_utf8(write(&rows).unwrap()).unwrap();
        assert_eq!(text, "a,b\r\n\"x,y\",\"say \"\"hi\"\"\"\r\n\"two\nlines\",'=A1\r\n,-5\r\n");
        assert_eq!(write::<Row>(&[]).unwrap(), b"a,b\r\n");
    }
}
