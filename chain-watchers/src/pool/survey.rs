//! All endpoints of a chain are asked for their heads at the same time: who is behind, who is fast, who is back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tracing::{debug, info, warn};

use super::{Inner, Node, Pool, Unusable};
use crate::pool::meter::SeenHead;

/// An endpoint in use whose head is old has the others asked that many times sooner.
const SOONER: u32 = 5;
/// A head further in the future than this is no head.
const FUTURE_MAX: Duration = Duration::from_secs(15 * 60);

impl<N: Node> Pool<N> {
    /// Begins a survey in the background when it is time for one. A single endpoint is compared with nobody.
    pub(super) fn survey_when_due(&self) {
        let inner = &self.0;
        if inner.endpoints.len() < 2 {
            return;
        }
        {
            let Ok(mut surveyed_at) = inner.surveyed_at.lock() else { return };
            if surveyed_at.is_some_and(|at| at.elapsed() < inner.pause()) {
                return;
            }
            *surveyed_at = Some(Instant::now());
        }
        let inner = Arc::clone(inner);
        // It ends by itself: every call has a time limit.
        tokio::spawn(async move { inner.survey().await });
    }
}

impl<N: Node> Inner<N> {
    fn pause(&self) -> Duration {
        let usual = self.options.compare_every;
        let in_use = self.endpoints.get(self.in_use.load(std::sync::atomic::Ordering::Relaxed));
        let is_old = in_use.and_then(|endpoint| endpoint.meter().head()).is_some_and(|head| self.is_old(head));
        if is_old { usual / SOONER } else { usual }
    }

    fn is_old(&self, head: SeenHead) -> bool {
        age(head) > self.options.head_age_max
    }

    async fn survey(&self) {
        let heads = join_all(self.endpoints.iter().map(|endpoint| self.look(endpoint))).await;
        let best = reference(&heads);
        for (endpoint, head) in self.endpoints.iter().zip(heads) {
            let Some(head) = head else { continue };
            let behind = self.behind(head, best);
            if let Some(reason) = &behind {
                warn!(chain = %self.chain, endpoint = endpoint.label(), reason, "this endpoint is behind");
            }
            endpoint.meter().set_behind(behind);
        }
    }

    /// What one endpoint shows; nothing when it shows nothing usable.
    async fn look(&self, endpoint: &N) -> Option<SeenHead> {
        let was_withheld = endpoint.meter().withheld().is_some();
        if was_withheld {
            return None;
        }
        match self.verify(endpoint).await {
            Ok(()) => {}
            Err(Unusable::Wrong(_)) => return None,
            Err(Unusable::Failed(failure)) => {
                debug!(chain = %self.chain, error = &failure as &dyn std::error::Error, "no answer to a comparison");
                return None;
            }
        }
        let begun = Instant::now();
        if let Err(failure) = endpoint.look_at_head().await {
            info!(chain = %self.chain, error = &failure as &dyn std::error::Error, "no head to compare");
            return None;
        }
        endpoint.meter().note_latency(begun.elapsed());
        endpoint.meter().head()
    }

    /// In what an endpoint with that head is behind.
    fn behind(&self, head: SeenHead, best: Option<u64>) -> Option<String> {
        let lag = best.map_or(0, |best| best.saturating_sub(head.height));
        if lag > self.options.head_lag_max {
            return Some(format!("its head {} is {lag} blocks below that of others", head.height));
        }
        if is_future(head) {
            return Some(format!("the time of its head {} lies in the future: {}", head.height, head.time));
        }
        let age = age(head);
        (age > self.options.head_age_max).then(|| format!("its head {} is {} s old", head.height, age.as_secs()))
    }
}

/// The height that others are compared with: the highest; of three and more the second highest, so that one endpoint alone
/// cannot put all others behind.
pub(super) fn reference(heads: &[Option<SeenHead>]) -> Option<u64> {
    let mut heights: Vec<u64> =
        heads.iter().flatten().filter(|head| !is_future(**head)).map(|head| head.height).collect();
    heights.sort_unstable_by(|left, right| right.cmp(left));
    heights.get(usize::from(heights.len() > 2)).copied()
}

fn age(head: SeenHead) -> Duration {
    chrono::Utc::now().signed_duration_since(head.time).to_std().unwrap_or_default()
}

fn is_future(head: SeenHead) -> bool {
    head.time.signed_duration_since(chrono::Utc::now()).to_std().is_ok_and(|ahead| ahead > FUTURE_MAX)
}
