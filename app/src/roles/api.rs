//! HTTP: REST where the role is on, health and metrics in every process.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use wopay_api::auth::AuthCache;
use wopay_api::{ApiParts, AppState, health_router};
use wopay_commands::{AddressLeases, merchant_changes};

use super::{Parts, Role};
use crate::context::Context;
use crate::readiness::Checks;

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
        let served = axum::serve(listener, router).with_graceful_shutdown(token.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(error = %error, "HTTP is no longer served");
        }
    });
    Ok(())
}

fn rest(context: &Context, parts: &mut Parts) -> anyhow::Result<Router> {
    let auth = AuthCache::new();
    let (pool, token, cache) = (context.pool.clone(), parts.token(), auth.clone());
    parts.spawn("merchant changes", merchant_changes::watch(pool, token, move |change| cache.apply(change)));
    let state = AppState::new(ApiParts {
        ledger: context.ledger.clone(),
        addresses: AddressLeases::new(context.pool.clone(), context.config.custody.address_lease),
        pool: context.pool.clone(),
        catalog: Arc::clone(&context.catalog),
        auth,
        url_policy: context.config.webhooks.policy(),
        public_base_url: context.config.base_url().parse().context("public_url is no URL")?,
    });
    Ok(wopay_api::router(state))
}
