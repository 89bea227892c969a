//! The metric of requests, with its handles kept: looking one up by its labels would allocate for every request.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use axum::http::Method;
use metrics::Histogram;

/// Seconds from the first byte of the head to the answer, labels `method`, `route` (template) and `status`.
pub const REQUEST_DURATION: &str = "wopay_api_request_duration_seconds";

/// Measures one route. Holds at most one handle for each method of HTTP and status that the route has answered with.
pub(crate) struct RouteMeter {
    template: &'static str,
    handles: RwLock<HashMap<(&'static str, u16), Histogram>>,
}

impl RouteMeter {
    pub(crate) fn new(template: &'static str) -> Self {
        Self { template, handles: RwLock::default() }
    }

    pub(crate) fn template(&self) -> &'static str {
        self.template
    }

    pub(crate) fn record(&self, method: &Method, status: u16, elapsed: Duration) {
        let key = (method_label(method), status);
        {
            let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(handle) = handles.get(&key) {
                return handle.record(elapsed.as_secs_f64());
            }
        }
        let (method, status) = key;
        let labels =
            [("method", method.to_owned()), ("route", self.template.to_owned()), ("status", status.to_string())];
        let handle = metrics::histogram!(REQUEST_DURATION, &labels);
        handle.record(elapsed.as_secs_f64());
        self.handles.write().unwrap_or_else(PoisonError::into_inner).insert(key, handle);
    }
}

/// A label from a closed set: a caller may invent methods, and each would be a time series for ever.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
