//! The follower's handler: one batch into every read model.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use sqlx::PgConnection;
use wopay_domain::RecordedEvent;
use wopay_eventbus::{EventHandler, HandlerError};

use crate::batch::Events;
use crate::model::ReadModel;
use crate::profiles::Profiles;
use crate::version;

/// The follower's name, in `follower_checkpoints` too.
pub const FOLLOWER: &str = "projections";

/// Applies events to every read model, in the transaction that also moves the checkpoint.
///
/// Writes are set-based: however many events a batch has, each table sees a statement or two.
#[derive(Clone)]
pub struct Projections {
    profiles: Arc<dyn Profiles>,
}

impl Projections {
    /// A handler that takes merchants' names and e-mails from `profiles`.
    #[must_use]
    pub fn new(profiles: Arc<dyn Profiles>) -> Self {
        Self { profiles }
    }
}

#[async_trait]
impl EventHandler for Projections {
    fn name(&self) -> &str {
        FOLLOWER
    }

    async fn apply(&self, tx: &mut PgConnection, events: &[RecordedEvent]) -> Result<(), HandlerError> {
        let started = Instant::now();
        let read = Events::read(events)?;
        version::guard(tx, read.batch().first_position()).await?;
        for model in ReadModel::ALL {
            let model_started = Instant::now();
            model.apply(tx, &read.batch(), &*self.profiles).await?;
            let elapsed = model_started.elapsed();
            metrics::histogram!("wopay_projections_model_apply_seconds", "model" => model.as_str()).record(elapsed);
        }
        metrics::histogram!("wopay_projections_apply_seconds").record(started.elapsed());
        metrics::counter!("wopay_projections_events_total").increment(u64::try_from(events.len()).unwrap_or(0));
        Ok(())
    }
}
