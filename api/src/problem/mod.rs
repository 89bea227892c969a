//! Every refusal of the API is an RFC 9457 problem. This folder holds what a problem *is*; which error becomes which
//! problem is decided in `error.rs` and nowhere else.
//!
//! A handler answers with a [`Problem`]; the edge (`edge.rs`) writes the body, because only there the request id
//! and the path are at hand. So no handler can forget them.

mod code;

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

pub use code::ProblemCode;

/// Characters of a caller's text that an answer repeats at most.
const ECHO_CHARS_MAX: usize = 64;

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field, query parameter or header; `body` for the body as a whole.
    #[schema(value_type = String, example = "amount")]
    pub field: Cow<'static, str>,
    /// What is wrong, for programs.
    #[schema(value_type = String, example = "too_precise")]
    pub code: &'static str,
    /// What is wrong and what to do, for people.
    #[schema(value_type = String, example = "has 7 digits after the point, the asset has 6")]
    pub message: Cow<'static, str>,
}

impl FieldError {
    /// An error of a field.
    pub fn new(field: impl Into<Cow<'static, str>>, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), code, message: message.into() }
    }
}

/// A refusal. Cheap to move: what it holds is behind one pointer.
#[derive(Clone, Debug)]
pub struct Problem(Arc<Content>);

#[derive(Clone, Debug)]
struct Content {
    code: ProblemCode,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of this kind; `detail` says what is special about this occurrence.
    pub fn new(code: ProblemCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::with(code, detail, Vec::new(), None)
    }

    /// A problem that names fields.
    pub fn fields(code: ProblemCode, detail: impl Into<Cow<'static, str>>, errors: Vec<FieldError>) -> Self {
        Self::with(code, detail, errors, None)
    }

    /// The answer to a request without a usable key.
    #[must_use]
    pub fn unauthorized(detail: &'static str) -> Self {
        let challenge = (header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        Self::with(ProblemCode::Unauthorized, detail, Vec::new(), Some(challenge))
    }

    /// A refusal that will pass: try again after this many seconds.
    #[must_use]
    pub fn retry_after(code: ProblemCode, detail: impl Into<Cow<'static, str>>, seconds: u16) -> Self {
        let header = (header::RETRY_AFTER, HeaderValue::from(seconds));
        Self::with(code, detail, Vec::new(), Some(header))
    }

    fn with(
        code: ProblemCode,
        detail: impl Into<Cow<'static, str>>,
        errors: Vec<FieldError>,
        header: Option<(HeaderName, HeaderValue)>,
    ) -> Self {
        Self(Arc::new(Content { code, detail: detail.into(), errors, header }))
    }

    /// What kind of problem this is.
    #[must_use]
    pub fn code(&self) -> ProblemCode {
        self.0.code
    }

    /// The JSON body.
    pub(crate) fn body(&self, instance: &str, request_id: &str) -> Body {
        let Content { code, detail, errors, .. } = &*self.0;
        let body = ProblemBody {
            r#type: code.type_uri(),
            title: code.title(),
            status: code.status().as_u16(),
            detail,
            instance,
            code: code.as_str(),
            request_id,
            errors,
        };
        // Strings and numbers only, so writing it cannot fail; an empty body would still carry the status.
        serde_json::to_vec(&body).map_or_else(|_| Body::empty(), Body::from)
    }
}

impl IntoResponse for Problem {
    /// Status and headers; the edge adds the body.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.code.status();
        if let Some((name, value)) = &self.0.header {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The body of every refusal (RFC 9457, `application/problem+json`).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// Names the kind of problem; relative to the API, where it can be read about.
    #[schema(value_type = String, example = "/problems/invalid_fields")]
    r#type: String,
    /// The kind of problem in a few words; the same each time.
    #[schema(example = "Some fields are not valid")]
    title: &'a str,
    /// The HTTP status.
    #[schema(example = 422)]
    status: u16,
    /// What is special about this occurrence.
    detail: &'a str,
    /// The path that was asked for.
    #[schema(example = "/api/v1/payments")]
    instance: &'a str,
    /// The kind of problem, for programs.
    #[schema(example = "invalid_fields")]
    code: &'a str,
    /// The request, as in the header `x-request-id`, logs and events.
    request_id: &'a str,
    /// Every field that is wrong, not only the first; empty when no field is to blame.
    errors: &'a [FieldError],
}

/// A caller's text, shortened for an answer and free of control characters.
pub(crate) fn echo(text: &str) -> String {
    let mut shown: String = text.chars().take(ECHO_CHARS_MAX).filter(|char| !char.is_control()).collect();
    if text.chars().nth(ECHO_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
