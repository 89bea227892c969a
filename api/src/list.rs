//! Pages of rows as an answer, in either format. One shape for every list of the books, so that a client is written once.

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use wopay_projections::Page;

use crate::extract::{Format, ListCursor};
use crate::problem::Problem;
use crate::table::{TableInfo, TableRow, table};

/// A page of rows.
#[derive(Serialize, ToSchema)]
pub(crate) struct List<R> {
    /// In the list's order.
    pub(crate) data: Vec<R>,
    /// Give this as `cursor`, with the same filters, for the next page; null on the last. It keeps the moment of the first
    /// page.
    pub(crate) next_cursor: Option<String>,
    /// Whether there is a next page.
    pub(crate) has_more: bool,
    /// Every event up to this position of the ledger is taken into account, none after it.
    pub(crate) as_of_position: i64,
}

impl<R> List<R> {
    /// A page of a read model.
    pub(crate) fn of<T, C: std::fmt::Display>(page: &Page<T, C>, row: impl Fn(&T) -> R) -> Self {
        let position = page.as_of_position;
        Self {
            data: page.items.iter().map(row).collect(),
            next_cursor: page.next.as_ref().map(|place| ListCursor { position, place }.to_string()),
            has_more: page.next.is_some(),
            as_of_position: position,
        }
    }

    /// A list that is answered whole.
    pub(crate) fn whole(data: Vec<R>, as_of_position: i64) -> Self {
        Self { data, next_cursor: None, has_more: false, as_of_position }
    }
}

impl<R: TableRow + Serialize> List<R> {
    /// The answer, as a file of this name if it is a table.
    pub(crate) fn respond(self, format: Format, name: &'static str) -> Result<Response, Problem> {
        match format {
            Format::Json => Ok(json(&self)),
            Format::Csv => {
                let next_cursor = self.next_cursor.as_deref();
                table(&TableInfo { name, as_of_position: self.as_of_position, next_cursor }, &self.data)
            }
        }
    }
}

/// JSON where the caller could have had CSV.
pub(crate) fn json(body: &impl Serialize) -> Response {
    ([(header::VARY, HeaderValue::from_static("accept"))], Json(body)).into_response()
}
