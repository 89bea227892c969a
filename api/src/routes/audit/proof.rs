//! `GET /api/v1/audit/proof`: that an event is in the log, or that a later log holds all of an earlier one.

use axum::extract::State;
use axum::response::Response;
use wopay_audit::query as audit;
use wopay_projections::feed;

use super::{PRIVATE, text};
use crate::auth::ProofReader;
use crate::error::query_failed;
use crate::extract::{Query, read};
use crate::problem::{Problem, ProblemBody, ProblemCode};
use crate::state::AppState;

/// What is to be proven.
enum Asked {
    Inclusion { position: i64, size: Option<i64> },
    Consistency { old: i64, new: Option<i64> },
}

/// A proof that verifies offline, with the public key of the log.
///
/// With `position`: that the event is in the log (C2SP tlog-proof, the event's line as its extra data), for an auditor any
/// event, for a merchant its own. With `old`: that the log of size `new` holds all of the log of size `old`, in the form in
/// which C2SP tlog-witness asks for a checkpoint to be added.
#[utoipa::path(
    get,
    path = "/api/v1/audit/proof",
    operation_id = "get_proof",
    tag = "audit",
    params(
        ("position" = Option<i64>, Query, description = "Position of the event"),
        ("size" = Option<i64>, Query, description = "The size of the checkpoint that it leads to; the newest if not given"),
        ("old" = Option<i64>, Query, description = "The size of the earlier checkpoint"),
        ("new" = Option<i64>, Query, description = "The size of the later checkpoint; the newest if not given"),
    ),
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "The proof"),
        (status = 400, body = ProblemBody<'static>, description = "`invalid_query`: a parameter is missing, unknown or not valid"),
        (status = 401, body = ProblemBody<'static>, description = "`unauthorized`: no valid key"),
        (status = 403, body = ProblemBody<'static>, description = "`forbidden`: not with a key of finance"),
        (status = 404, body = ProblemBody<'static>, description = "`not_found`: no such event of the caller's, or no such checkpoint"),
        (status = 500, body = ProblemBody<'static>, description = "`log_damaged`: what is stored is not what was sealed"),
    ),
    security(("api_key" = []), ("access_key" = []))
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    caller: ProofReader,
    mut query: Query,
) -> Result<Response, Problem> {
    let asked = take_asked(&mut query);
    let asked = query.finish_with(asked)?;
    let pool = &state.parts.pool;
    let proof = match asked {
        Asked::Inclusion { position, size } => {
            own_event(&state, caller, position).await?;
            audit::inclusion_proof(pool, position, size).await?.to_string()
        }
        Asked::Consistency { old, new } => audit::consistency_proof(pool, old, new).await?.to_string(),
    };
    Ok(text(proof, PRIVATE))
}

fn take_asked(query: &mut Query) -> Option<Asked> {
    let mut take = |name| query.take(name, read::position);
    let (position, size, old, new) = (take("position"), take("size"), take("old"), take("new"));
    match (position, old) {
        (Some(position), None) if new.is_none() => Some(Asked::Inclusion { position, size }),
        (None, Some(old)) if size.is_none() => Some(Asked::Consistency { old, new }),
        (None, None) => {
            query.refuse_missing("position", "is required, or old");
            None
        }
        _ => {
            query.refuse("old", "invalid", "ask with position and size, or with old and new");
            None
        }
    }
}

/// A merchant may ask for its own events only; those of others are answered like events that do not exist.
async fn own_event(state: &AppState, caller: ProofReader, position: i64) -> Result<(), Problem> {
    let ProofReader::Merchant(merchant) = caller else { return Ok(()) };
    let owner = feed::owner(&state.parts.pool, position).await.map_err(|error| query_failed(&error))?;
    if owner == Some(merchant) {
        return Ok(());
    }
    Err(Problem::new(ProblemCode::NotFound, "There is no such event."))
}
