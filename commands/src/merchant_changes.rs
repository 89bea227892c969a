//! How processes that keep merchants, keys and chains in memory learn of changes. An append of events of a merchant, an
//! access key or a chain notifies the channel `wopay_merchants` in its transaction; payments do not pay for this. The
//! message is a merchant's id, `access_key:` and an access key's, or `chain:` and a chain's name. A watcher that begins
//! to look for a token tells so by the latter too.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio_util::sync::CancellationToken;
use wopay_domain::{AccessKeyId, MerchantId};

const CHANNEL: &str = "wopay_merchants";
const ACCESS_KEY: &str = "access_key:";
const CHAIN: &str = "chain:";
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
const PROBE_AFTER: Duration = Duration::from_secs(5);
const PROBE_WITHIN: Duration = Duration::from_secs(5);

/// What a keeper of merchants and keys must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MerchantChange {
    /// From now on changes are told: forget everything once, then merchants may be kept.
    Watching,
    /// This merchant has changed: forget it.
    Merchant(MerchantId),
    /// This access key has changed: forget it.
    AccessKey(AccessKeyId),
    /// Some chain has changed: read the catalogue again.
    Chain,
    /// Changes are no longer told: forget everything and keep nothing until [`MerchantChange::Watching`].
    Blind,
}

/// Tells `on_change` of changes until `token` is cancelled. Starts blind; a lost connection makes it blind again and is
/// made anew. Takes one connection of the pool for good.
pub async fn watch(pool: PgPool, token: CancellationToken, on_change: impl Fn(MerchantChange) + Send) {
    loop {
        let watching = async {
            let mut listener = listen(&pool).await;
            on_change(MerchantChange::Watching);
            follow(&mut listener, &on_change).await;
        };
        let ended = token.run_until_cancelled(watching).await;
        on_change(MerchantChange::Blind);
        if ended.is_none() {
            return;
        }
    }
}

async fn listen(pool: &PgPool) -> PgListener {
    let builder = ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_delay(PAUSE_MAX).with_jitter();
    let mut pauses = builder.without_max_times().build();
    loop {
        match try_listen(pool).await {
            Ok(listener) => return listener,
            Err(error) => tracing::warn!(error = %error, "cannot listen for changes of merchants, trying again"),
        }
        tokio::time::sleep(pauses.next().unwrap_or(PAUSE_MAX)).await;
    }
}

async fn try_listen(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Tells of changes until the connection is lost. A connection can be dead without a sign of it, so silence is probed.
async fn follow(listener: &mut PgListener, on_change: &impl Fn(MerchantChange)) {
    loop {
        let lost = match tokio::time::timeout(PROBE_AFTER, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                match change(notification.payload()) {
                    Some(change) => on_change(change),
                    None => tracing::error!(payload = notification.payload(), "a notification of no known form"),
                }
                continue;
            }
            Ok(Ok(None)) => "closed".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => match probe(listener).await {
                Ok(()) => continue,
                Err(lost) => lost,
            },
        };
        return tracing::warn!(lost, "lost the connection that tells of changes of merchants");
    }
}

fn change(message: &str) -> Option<MerchantChange> {
    if message.starts_with(CHAIN) {
        return Some(MerchantChange::Chain);
    }
    match message.strip_prefix(ACCESS_KEY) {
        Some(id) => id.parse().ok().map(MerchantChange::AccessKey),
        None => message.parse().ok().map(MerchantChange::Merchant),
    }
}

async fn probe(listener: &mut PgListener) -> Result<(), String> {
    match tokio::time::timeout(PROBE_WITHIN, sqlx::query("SELECT 1").execute(listener)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("silent".to_owned()),
    }
}
