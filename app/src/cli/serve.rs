//! `wopay serve`: the gateway, until it is told to stop.

use std::net::{SocketAddr, TcpListener};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Loaded, Source};
use crate::context::Context;
use crate::keys;
use crate::readiness::Checks;
use crate::roles::{self, Parts, Role};
use crate::telemetry;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What this process does.
    #[arg(long, value_delimiter = ',', value_name = "ROLES", default_values_t = Role::ALL)]
    roles: Vec<Role>,

    /// Where to serve HTTP [default: `listen` of the configuration; a role alone has a port of its own].
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

impl Args {
    /// Lays the command line over the configuration.
    pub(super) fn apply(&self, config: &mut Config) {
        config.listen = self.listen.unwrap_or_else(|| roles::listen_address(config.listen, &self.roles));
    }
}

/// Serves until SIGTERM or SIGINT; what was accepted is finished first.
///
/// # Errors
/// When something needed cannot be had, or a part fails.
pub(super) async fn run(args: Args, loaded: Loaded, source: Source) -> anyhow::Result<()> {
    let prometheus = telemetry::init_metrics()?;
    let token = CancellationToken::new();
    stop_on_signals(token.clone())?;
    if args.roles.iter().any(|role| role.needs_master_key()) {
        keys::check_configured(&loaded.config)?;
    }
    // Bound before anything is started: a taken port is the commonest mistake.
    let listen = loaded.config.listen;
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;

    listener.set_nonblocking(true)?;

    let Some(context) = token.run_until_cancelled(Box::pin(Context::open(loaded, source))).await else { return Ok(()) };
    let context = context?;
    let served = serve(&args, &context, listener, prometheus, token).await;
    tracing::info!("stopping");
    context.close().await;
    tracing::info!("stopped");
    served
}

async fn serve(
    args: &Args,
    context: &Context,
    listener: TcpListener,
    prometheus: metrics_exporter_prometheus::PrometheusHandle,
    token: CancellationToken,
) -> anyhow::Result<()> {
    let mut parts = Parts::new(token);
    let mut checks = Checks::new(context.pool.clone(), context.bus.clone());
    roles::start(&args.roles, context, &mut parts, &mut checks).await?;
    let listen = listener.local_addr()?;
    roles::serve_http(&args.roles, context, listener, checks, prometheus, &mut parts)?;
    let names: Vec<_> = args.roles.iter().map(Role::to_string).collect();
    tracing::info!(%listen, roles = names.join(","), chains = context.catalog.current().iter().count(), "serving");
    parts.run().await
}

/// The first signal asks every part to finish.
fn stop_on_signals(token: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        token.cancel();
    });
    Ok(())
}
