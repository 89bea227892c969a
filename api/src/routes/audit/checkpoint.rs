//! `GET /api/v1/audit/checkpoint`: the signed head of the log, for anybody to keep a copy of.

use axum::extract::State;
use axum::http::HeaderValue;
use axum::response::Response;
use wopay_audit::query as audit;

use super::{IMMUTABLE, text};
use crate::extract::{Query, read};
use crate::problem::{Problem, ProblemBody, ProblemCode};
use crate::state::AppState;

/// The newest is another one within a second.
const NEWEST: HeaderValue = HeaderValue::from_static("no-cache");

/// A signed checkpoint (C2SP tlog-checkpoint): how many events there are, and the root of the tree over them.
///
/// Keep the newest that you have seen: a later one must contain it (`/api/v1/audit/proof?old=&new=`).
#[utoipa::path(
    get,
    path = "/api/v1/audit/checkpoint",
    operation_id = "get_checkpoint",
    tag = "audit",
    params(("size" = Option<i64>, Query, description = "The checkpoint of this size; the newest if not given")),
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "The signed note"),
        (status = 400, body = ProblemBody<'static>, description = "`invalid_query`: a parameter is unknown or not valid"),
        (status = 404, body = ProblemBody<'static>, description = "`not_found`: nothing is sealed yet, or not at this size"),
    )
)]
pub(crate) async fn get(State(state): State<AppState>, mut query: Query) -> Result<Response, Problem> {
    let size = query.take("size", read::position);
    query.finish()?;
    let pool = &state.parts.pool;
    let (found, cache) = match size {
        Some(size) => (audit::checkpoint_at(pool, size).await?, IMMUTABLE),
        None => (audit::latest_checkpoint(pool).await?, NEWEST),
    };
    let missing = || Problem::new(ProblemCode::NotFound, "There is no such checkpoint.");
    Ok(text(found.ok_or_else(missing)?.note, cache))
}
