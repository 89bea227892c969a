//! `GET /api/v1/audit/tile/…`: the log in tiles, at the paths of C2SP tlog-tiles, for monitors and mirrors. Proofs can be
//! made from them without asking us.

use axum::extract::{FromRequestParts, Path, State};
use axum::http::HeaderValue;
use axum::http::request::Parts;
use axum::response::Response;
use wopay_audit::query as audit;

use super::{IMMUTABLE, PRIVATE, bytes};
use crate::auth::AuditorKey;
use crate::extract::Query;
use crate::problem::{Problem, ProblemBody, ProblemCode};
use crate::state::AppState;

/// Hashes of a full tile, entries of a full bundle.
const WIDTH_MAX: u16 = 256;
/// No log has more levels.
const LEVEL_MAX: u8 = 63;
/// Digits of a part of an index.
const GROUP_DIGITS: usize = 3;
/// Parts of the largest index: more than any log has.
const GROUPS_MAX: usize = 6;

/// A tile of hashes, 32 bytes each.
#[utoipa::path(
    get,
    path = "/api/v1/audit/tile/{level}/{index}",
    operation_id = "get_tile",
    tag = "audit",
    params(
        ("level" = u8, Path, description = "0 for leaves, up to 63"),
        ("index" = String, Path, description = "As in C2SP tlog-tiles: `x001/x234/067`, with `.p/<width>` for a tile that is not full"),
    ),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream", description = "The hashes"),
        (status = 404, body = ProblemBody<'static>, description = "`not_found`: the log is not that long"),
    )
)]
pub(crate) async fn hashes(
    State(state): State<AppState>,
    TilePath { level, index, width }: TilePath,
    query: Query,
) -> Result<Response, Problem> {
    query.finish()?;
    found(audit::tile(&state.parts.pool, level, index, width).await?, IMMUTABLE)
}

/// A bundle of entries: each the line of an event, with its length before it in two bytes, big end first.
#[utoipa::path(
    get,
    path = "/api/v1/audit/tile/entries/{index}",
    operation_id = "get_entry_bundle",
    tag = "audit",
    params(("index" = String, Path, description = "As in C2SP tlog-tiles: `x001/x234/067`, with `.p/<width>` for a bundle that is not full")),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream", description = "The entries"),
        (status = 401, body = ProblemBody<'static>, description = "`unauthorized`: no valid key"),
        (status = 403, body = ProblemBody<'static>, description = "`forbidden`: for auditors only"),
        (status = 404, body = ProblemBody<'static>, description = "`not_found`: not sealed"),
    ),
    security(("access_key" = []))
)]
pub(crate) async fn entries(
    State(state): State<AppState>,
    _: AuditorKey,
    BundlePath { index, width }: BundlePath,
    query: Query,
) -> Result<Response, Problem> {
    query.finish()?;
    found(audit::entries(&state.parts.pool, index, width).await?, PRIVATE)
}

fn found(content: Option<Vec<u8>>, cache: HeaderValue) -> Result<Response, Problem> {
    content.map(|content| bytes(content, cache)).ok_or_else(no_tile)
}

fn no_tile() -> Problem {
    Problem::new(ProblemCode::NotFound, "There is no such tile.")
}

/// Which tile a path names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TilePath {
    level: u8,
    index: i64,
    width: u16,
}

/// Which bundle a path names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BundlePath {
    index: i64,
    width: u16,
}

impl<S: Send + Sync> FromRequestParts<S> for TilePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((level, index)) = path.map_err(|_| no_tile())?;
        let level = number(&level).filter(|level| *level <= i64::from(LEVEL_MAX));
        let level = level.and_then(|level| u8::try_from(level).ok()).ok_or_else(no_tile)?;
        let (index, width) = place(&index).ok_or_else(no_tile)?;
        Ok(Self { level, index, width })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for BundlePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(index) = path.map_err(|_| no_tile())?;
        let (index, width) = place(&index).ok_or_else(no_tile)?;
        Ok(Self { index, width })
    }
}

/// The index and width of `x001/x234/067.p/8`. Each tile has one path, so every other spelling names nothing.
fn place(text: &str) -> Option<(i64, u16)> {
    let (index, width) = match text.split_once(".p/") {
        Some((index, width)) => {
            let width = u16::try_from(number(width)?).ok();
            (index, width.filter(|width| (1..WIDTH_MAX).contains(width))?)
        }
        None => (text, WIDTH_MAX),
    };
    let groups: Vec<&str> = index.split('/').collect();
    let (last, first) = groups.split_last()?;
    if groups.len() > GROUPS_MAX || first.first() == Some(&"x000") {
        return None;
    }
    let mut digits = String::new();
    for group in first {
        digits.push_str(group_digits(group.strip_prefix('x')?)?);
    }
    digits.push_str(group_digits(last)?);
    Some((digits.parse().ok()?, width))
}

fn group_digits(group: &str) -> Option<&str> {
    (group.len() == GROUP_DIGITS && group.bytes().all(|byte| byte.is_ascii_digit())).then_some(group)
}

/// A whole number without leading zeroes.
fn number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number: &i64| number.to_string() == text && *number >= 0)
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_path_names_one_tile() {
        assert_eq!(place("000"), Some((0, 256)));
        assert_eq!(place("x001/x234/067"), Some((1_234_067, 256)));
        assert_eq!(place("x001/000.p/8"), Some((1_000, 8)));
        assert_eq!(place("255.p/255"), Some((255, 255)));
    }

    #[test]
    fn other_spellings_name_none() {
        for text in [
            "",
            "0",
            "00",
            "0000",
            "1000",
            "x000/067",
            "x001",
            "x01/067",
            "001/067",
            "x001/x067",
            "067.p/",
            "067.p/0",
            "067.p/08",
            "067.p/256",
            "067.p/-1",
            "067.p/1.p/1",
            "+67",
            "x001//067",
            "/067",
            "067/",
            "x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(place(text), None, "{text}");
        }
    }
}
