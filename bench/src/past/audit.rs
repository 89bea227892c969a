//! (f) The Merkle log: sealing all events that there are, and verifying them.

use anyhow::Result;
use serde::Serialize;

use super::{Line, Plan};
use crate::history::History;
use crate::server::{Database, Server};
use crate::work::{Done, Work};

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Audit {
    /// From the first event to a signed checkpoint over all.
    pub(crate) seal: Done,
    /// Everything recomputed from the events.
    pub(crate) verify: Done,
}

impl Audit {
    pub(super) fn lines(&self) -> Vec<Line> {
        vec![
            Line::done('f', "sealing a ledger from its first event", &self.seal),
            Line::done('f', "verifying it, whole", &self.verify),
        ]
    }
}

pub(super) async fn measure(server: &Server, database: &Database, history: &History, plan: &Plan<'_>) -> Result<Audit> {
    server.checkpoint().await?;
    let seal = Work::Seal.measure(server, database.url(), history.events, plan.scratch).await?;
    let verify = Work::Verify.measure(server, database.url(), history.events, plan.scratch).await?;
    Ok(Audit { seal, verify })
}
