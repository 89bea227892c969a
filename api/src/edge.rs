//! The edge: the one layer around every route.
//!
//! It gives each request an id and a span, bounds its time, turns a panic into a 500, writes the body of every problem,
//! adds the id to the answer, and records one metric and one log line. One hand-written layer instead of six of a
//! library, because each of those boxes a future and clones a service for every request.
//!
//! It promises that every answer of 400 and above is `application/problem+json`, whoever made it.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use futures::future::BoxFuture;
use tower::{Layer, Service};
use tracing::Instrument;

use crate::meter::RouteMeter;
use crate::problem::{Problem, ProblemCode};
use crate::request::{REQUEST_ID_HEADER, RequestContext, RequestId};

/// A request that is not answered by then gets a 503. What it had begun may still take effect, once.
pub const REQUEST_DURATION_MAX: Duration = Duration::from_secs(30);

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// How loud a route is in the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loudness {
    /// One line at `info` for each request.
    Info,
    /// One line at `debug`: probes and scrapes.
    Debug,
}

/// Wraps a route in an [`Edge`].
#[derive(Clone)]
pub(crate) struct EdgeLayer {
    meter: Arc<RouteMeter>,
    loudness: Loudness,
    duration_max: Duration,
}

impl EdgeLayer {
    /// For the route of this template, such as `/api/v1/payments/{id}`.
    pub(crate) fn new(template: &'static str, loudness: Loudness) -> Self {
        Self { meter: Arc::new(RouteMeter::new(template)), loudness, duration_max: REQUEST_DURATION_MAX }
    }
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Edge { layer: self.clone(), inner }
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Edge<S> {
    layer: EdgeLayer,
    inner: S,
}

impl<S> Service<Request> for Edge<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let started = Instant::now();
        let context = RequestContext::new(RequestId::of(request.headers()));
        let span = tracing::info_span!("request", request_id = context.id().as_str());
        let method = request.method().clone();
        let uri = request.uri().clone();
        request.extensions_mut().insert(context.clone());
        let inner = {
            let _entered = span.enter();
            self.inner.call(request)
        };
        let EdgeLayer { meter, loudness, duration_max } = self.layer.clone();
        let served = async move {
            let mut response = bounded(inner, duration_max).await;
            finish(&mut response, &context, &uri);
            record(&meter, loudness, &method, &context, &response, started);
            Ok(response)
        };
        Box::pin(served.instrument(span))
    }
}

/// The inner answer, or the problem that stands for a panic or for too much time.
async fn bounded(inner: impl Future<Output = Result<Response, Infallible>>, duration_max: Duration) -> Response {
    // Nothing of the request is used after a panic, so nothing half-changed can be seen.
    match tokio::time::timeout(duration_max, AssertUnwindSafe(inner).catch_unwind()).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Err(panic)) => {
            tracing::error!(panic = panic_text(&*panic), "a handler panicked");
            Problem::new(ProblemCode::Internal, "The request could not be served.").into_response()
        }
        Err(_elapsed) => {
            let detail = "The request was not answered in time. It may still take effect; repeating it is safe.";
            Problem::retry_after(ProblemCode::Timeout, detail, 1).into_response()
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Adds the request id, and the body if the answer is a problem.
fn finish(response: &mut Response, context: &RequestContext, uri: &Uri) {
    if response.status().is_client_error() || response.status().is_server_error() {
        let problem = response.extensions_mut().remove::<Problem>().unwrap_or_else(|| {
            let code = ProblemCode::of_status(response.status());
            Problem::new(code, code.advice())
        });
        *response.status_mut() = problem.code().status();
        *response.body_mut() = problem.body(uri.path(), context.id().as_str());
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
    }
    response.headers_mut().insert(REQUEST_ID_HEADER.clone(), context.id().header());
}

fn record(
    meter: &RouteMeter,
    loudness: Loudness,
    method: &Method,
    context: &RequestContext,
    response: &Response,
    started: Instant,
) {
    let elapsed = started.elapsed();
    let status = response.status().as_u16();
    meter.record(method, status, elapsed);
    macro_rules! access_log {
        ($level:ident) => {
            tracing::$level!(
                target: "wopay_api::access",
                method = method.as_str(),
                route = meter.template(),
                status,
                latency_ms = elapsed.as_secs_f64() * 1e3,
                merchant_id = context.merchant().map(tracing::field::display),
                access_key_id = context.access_key().map(tracing::field::display),
                request_id = context.id().as_str(),
                "request"
            )
        };
    }
    match loudness {
        Loudness::Info => access_log!(info),
        Loudness::Debug => access_log!(debug),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use axum::http::StatusCode;
    use axum::response::Response;
    use axum::routing::{MethodRouter, get};
    use tower::ServiceExt;

    use super::{EdgeLayer, Loudness};

    async fn answer(route: MethodRouter) -> (Response<()>, serde_json::Value) {
        let mut layer = EdgeLayer::new("/x", Loudness::Info);
        layer.duration_max = Duration::from_millis(20);
        let router: Router = Router::new().route("/x", route.layer(layer));
        let response = router.oneshot(Request::get("/x?secret=1").body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 1 << 16).await.unwrap();
        (Response::from_parts(head, ()), serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_that_says_nothing_of_it() {
        async fn panics() -> StatusCode {
            panic!("the database password is hunter2")
        }
        let (head, body) = answer(get(panics)).await;
        assert_eq!(head.status(), 500);
        assert_eq!(body["code"], "internal");
        assert_eq!(body["instance"], "/x");
        assert!(!body.to_string().contains("hunter2"));
        assert_eq!(head.headers()["x-request-id"], body["request_id"].as_str().unwrap());
    }

    #[tokio::test]
    async fn a_handler_that_hangs_is_a_problem() {
        let (head, body) = answer(get(std::future::pending::<StatusCode>)).await;
        assert_eq!((head.status().as_u16(), &body["code"]), (503, &"timeout".into()));
        assert!(head.headers().contains_key("retry-after"));
    }

    #[tokio::test]
    async fn a_bare_status_becomes_a_problem() {
        let (head, body) = answer(get(|| async { (StatusCode::IM_A_TEAPOT, "plain") })).await;
        assert_eq!((head.status().as_u16(), &body["code"]), (400, &"bad_request".into()));
        assert_eq!(head.headers()["content-type"], "application/problem+json");
    }
}
