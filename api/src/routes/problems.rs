//! `GET /problems/{code}`: what a problem's `type` leads to.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::extract::TextPath;
use crate::problem::{Problem, ProblemBody, ProblemCode};

/// A kind of problem, explained.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProblemKind {
    /// Its `code`.
    #[schema(example = "order_conflict")]
    code: &'static str,
    /// Its `title`.
    title: &'static str,
    /// Its `status`.
    status: u16,
    /// What to do about it.
    advice: &'static str,
}

/// Explains a kind of problem.
#[utoipa::path(
    get,
    path = "/problems/{code}",
    operation_id = "explain_problem",
    tag = "meta",
    params(("code" = String, Path, description = "The `code` of a problem")),
    responses((status = 200, body = ProblemKind, description = "The kind of problem"), (status = 404, body = ProblemBody<'static>, description = "No such code"))
)]
pub(crate) async fn explain(TextPath(code): TextPath) -> Result<Json<ProblemKind>, Problem> {
    let code = ProblemCode::parse(&code)
        .ok_or_else(|| Problem::new(ProblemCode::NotFound, "There is no problem with this code."))?;
    let (title, status, advice) = (code.title(), code.status().as_u16(), code.advice());
    Ok(Json(ProblemKind { code: code.as_str(), title, status, advice }))
}
