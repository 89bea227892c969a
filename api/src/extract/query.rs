//! Query parameters, strictly: a misspelt filter must not silently filter nothing.

use std::borrow::Cow;
use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use url::form_urlencoded;

use crate::problem::{FieldError, Problem, ProblemCode, echo};

/// Parameters that are read at most; more are refused.
const PARAMETERS_MAX: usize = 32;

/// The query, to be taken apart by name. [`finish`](Self::finish) refuses what nobody took.
pub(crate) struct Query {
    parameters: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Query {
    fn parse(text: &str) -> Self {
        let mut pairs = form_urlencoded::parse(text.as_bytes()).into_owned();
        let parameters = pairs.by_ref().take(PARAMETERS_MAX).collect();
        let mut query = Self { parameters, errors: Vec::new() };
        if pairs.next().is_some() {
            query.refuse("query", "too_many", "has too many parameters");
        }
        query
    }

    /// Takes the parameter of this name and reads it; an error of `read` is noted.
    pub(crate) fn take<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, Cow<'static, str>>,
    ) -> Option<T> {
        let mut values = Vec::new();
        self.parameters.retain_mut(|(key, value)| {
            let wanted = key == name;
            if wanted {
                values.push(std::mem::take(value));
            }
            !wanted
        });
        if values.len() > 1 {
            self.refuse(name, "duplicate", "is given more than once");
            return None;
        }
        match read(values.first()?) {
            Ok(value) => Some(value),
            Err(message) => {
                self.refuse(name, "invalid", message);
                None
            }
        }
    }

    /// As [`take`](Self::take); a parameter that is not given is an error, too.
    pub(crate) fn take_required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, Cow<'static, str>>,
    ) -> Option<T> {
        if !self.parameters.iter().any(|(key, _)| key == name) {
            self.refuse_missing(name, "is required");
            return None;
        }
        self.take(name, read)
    }

    /// Notes that a parameter is missing.
    pub(crate) fn refuse_missing(&mut self, name: &'static str, message: &'static str) {
        self.refuse(name, "missing", message);
    }

    /// Notes an error.
    pub(crate) fn refuse(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) {
        self.errors.push(FieldError::new(name, code, message));
    }

    /// Ends reading of parameters that cannot do without `value`, which is there unless an error was noted.
    ///
    /// # Errors
    /// As of [`finish`](Self::finish).
    pub(crate) fn finish_with<T>(self, value: Option<T>) -> Result<T, Problem> {
        self.finish()?;
        value.ok_or_else(|| Problem::new(ProblemCode::InvalidQuery, "A query parameter is missing."))
    }

    /// Ends reading.
    ///
    /// # Errors
    /// When a parameter is not valid, or was not taken and hence is unknown.
    pub(crate) fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.parameters) {
            self.refuse(echo(&name), "unknown", "is not a parameter of this request");
        }
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(Problem::fields(ProblemCode::InvalidQuery, "Some query parameters are not valid.", self.errors))
    }
}
