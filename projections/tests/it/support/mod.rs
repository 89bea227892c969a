//! What these tests share.

mod actors;
mod expect;
mod ledger;
mod snapshot;
mod steps;

pub(crate) use actors::{
    asset, assign_stray, at, block, create, merchant_id, native, report, settle, tx_hash, unmatched,
};
pub(crate) use expect::assert_projected;
pub(crate) use ledger::{NoProfiles, TestLedger, project_once};
pub(crate) use snapshot::{clear, index_names, snapshot};
pub(crate) use steps::{observe, run, steps, tell, tell_of_held};
