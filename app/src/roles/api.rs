//! HTTP: REST where the role is on, health and metrics in every process.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use hyper_util::rt::TokioTimer;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;
use wopay_api::auth::AuthCache;
use wopay_api::{ApiParts, AppState, health_router};
use wopay_commands::{AddressLeases, merchant_changes};

use super::{Parts, Role};
use crate::context::Context;
use crate::readiness::Checks;

/// How long a client may take to send a request's head: a connection that says nothing is closed.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);

/// How long requests in flight may go on when the process is to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Starts to serve HTTP on a listener that is bound already.
///
/// # Errors
/// When the base of links is no URL.
pub(crate) fn serve_http(
    roles: &[Role],
    context: &Context,
    listener: TcpListener,
    checks: Checks,
    prometheus: PrometheusHandle,
    parts: &mut Parts,
) -> anyhow::Result<()> {
    let render = Arc::new(move || prometheus.render());
    let mut router = health_router(Arc::new(checks), render);
    if roles.contains(&Role::Api) {
        router = router.merge(rest(context, parts)?);
    }
    let token = parts.token();
    parts.spawn("http", async move {
        if let Err(error) = listen(listener, router, token).await {
            tracing::error!(error = %error, "HTTP is no longer served");
        }
    });
    Ok(())
}

/// Serves until the token is cancelled; then takes no more connections and lets requests in flight end.
async fn listen(listener: TcpListener, router: Router, token: CancellationToken) -> io::Result<()> {
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener)?.acceptor(NoDelayAcceptor::new()).handle(handle.clone());
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    let stop = async {
        token.cancelled().await;
        handle.graceful_shutdown(Some(DRAIN));
        // The server ends, not this.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = server.serve(router.into_make_service()) => served,
        () = stop => Ok(()),
    }
}

fn rest(context: &Context, parts: &mut Parts) -> anyhow::Result<Router> {
    let auth = AuthCache::new();
    let (pool, token, cache, catalog) = (context.workers.clone(), parts.token(), auth.clone(), context.catalog.clone());
    let on_change = move |change| {
        cache.apply(change);
        catalog.apply(change);
    };
    parts.spawn("merchant changes", merchant_changes::watch(pool, token, on_change));
    let state = AppState::new(ApiParts {
        ledger: context.ledger.clone(),
        addresses: AddressLeases::new(context.pool.clone(), context.config.custody.address_lease),
        pool: context.pool.clone(),
        catalog: context.catalog.clone(),
        auth,
        url_policy: context.config.webhooks.policy(),
        public_base_url: context.config.base_url().parse().context("public_url is no URL")?,
    });
    Ok(wopay_api::router(state))
}
