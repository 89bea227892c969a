//! The roles that follow the ledger: relay, projections, webhooks.

use std::sync::Arc;

use anyhow::Context as _;
use wopay_commands::inbox;
use wopay_eventbus::{EventHandler, Follower, Relay};
use wopay_projections::Projections;
use wopay_webhooks::{Deliverer, DelivererConfig, Planner};

use super::Parts;
use crate::context::Context;
use crate::readiness::Checks;

/// Announces events, and executes the commands that arrive.
pub(super) fn start_relay(context: &Context, parts: &mut Parts) {
    let relay = Relay::new(context.workers.clone(), context.bus.clone(), context.signal.clone());
    parts.spawn("relay", relay.run(parts.token()));
    parts.spawn("inbox", inbox::run(context.ledger.clone(), context.bus.clone(), parts.token()));
}

/// Keeps the read side.
///
/// # Errors
/// When merchants' profiles cannot be opened.
pub(super) async fn start_projections(context: &Context, parts: &mut Parts, checks: &mut Checks) -> anyhow::Result<()> {
    let projections = Projections::new(Arc::new(context.vault().await?));
    follow("projections", Arc::new(projections), context, parts, checks);
    Ok(())
}

/// Plans webhooks and delivers them.
///
/// # Errors
/// When signing secrets cannot be opened, or no TLS client can be made.
pub(super) async fn start_webhooks(context: &Context, parts: &mut Parts, checks: &mut Checks) -> anyhow::Result<()> {
    let planner = Planner::new();
    let config = DelivererConfig { policy: context.config.webhooks.policy(), ..DelivererConfig::default() };
    let deliverer = Deliverer::new(context.workers.clone(), context.vault().await?, config)
        .context("no HTTP client for webhooks")?
        .woken_by(planner.wake());
    parts.spawn("webhook deliverer", deliverer.run(parts.token()));
    follow("webhook planner", Arc::new(planner), context, parts, checks);
    Ok(())
}

fn follow(
    name: &'static str,
    handler: Arc<dyn EventHandler>,
    context: &Context,
    parts: &mut Parts,
    checks: &mut Checks,
) {
    let follower = Follower::new(context.workers.clone(), context.bus.clone(), handler);
    let status = follower.status();
    checks.follow(status.clone());
    let token = parts.token();
    parts.spawn(name, async move {
        follower.run(token.clone()).await;
        // A poisoned follower has stopped loudly; the others go on, and readiness says so.
        if status.poisoned().is_some() {
            token.cancelled().await;
        }
    });
}
