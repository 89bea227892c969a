//! The roles that follow the ledger: relay, webhooks; and how any follower is started.

use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context as _;
use wopay_commands::inbox;
use wopay_eventbus::{EventHandler, Follower, Relay};
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

/// What a follower waits for before it applies anything.
pub(super) type Start = Pin<Box<dyn Future<Output = ()> + Send>>;

fn follow(
    name: &'static str,
    handler: Arc<dyn EventHandler>,
    context: &Context,
    parts: &mut Parts,
    checks: &mut Checks,
) {
    follow_after(Box::pin(async {}), name, handler, context, parts, checks);
}

/// Runs a follower once `start` has ended, and lets readiness know it.
pub(super) fn follow_after(
    start: Start,
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
        start.await;
        follower.run(token.clone()).await;
        // A poisoned follower has stopped loudly; the others go on, and readiness says so.
        if status.poisoned().is_some() {
            token.cancelled().await;
        }
    });
}
