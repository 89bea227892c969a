//! What happens on the chains, as commands to payments.
//!
//! A [`ChainWatcher`] follows one chain block by block. In one transaction it moves its cursor, records what arrived at
//! addresses of ours and writes the reports about it; the [`OutboxPublisher`] brings the reports to the command stream.
//!
//! What it promises:
//! - **No block is skipped.** A block that cannot be read holds the chain up until it can. After an outage every block
//!   in between is processed. (Of a Solana cluster that is followed by addresses: none of the transactions that mention
//!   them.)
//! - **A reorganization is walked back to the common ancestor**, its deposits are reported as orphaned, newest first, and
//!   the new branch is processed like any other. One that is deeper than the window stops the chain, loudly.
//! - **A report is written with its cause and repeated until the ledger shows it**; its revision grows with every report
//!   of its chain. Crashes and lost streams repeat reports, which payments ignore, and lose none.
//! - **The database is the watch set.** Transfers are joined with the deposit claims in SQL.
//!
//! What is deliberately absent: websockets and node filters (they die silently), in-memory address sets, keys, decisions
//! about payments, internal native transfers (contracts that pay out with `call` leave no log; see the `evm` module; a
//! [`BalanceReader`] shows them to who compares balances with the books).
//!
//! Metrics, each with the label `chain` where it belongs to one: `wopay_chain_watchers_{height,head,lag}_blocks`,
//! `…_blocks_total`, `…_reorgs_total`, `…_orphaned_blocks_total`, `…_reports_total{stage}`, `…_unmatched_total`,
//! `…_amount_overflow_total`, `…_failed_steps_total`, `…_halted`, `…_refused`,
//! `…_rpc_calls_total{endpoint,method,outcome}`, `…_rpc_seconds`,
//! `…_endpoint_{state{state},in_use,calls_per_second_max,latency_seconds,head_blocks,budget_left_calls}{endpoint}`,
//! `…_behind`, `…_addresses_{open,late}`, `…_addresses_looked_at_total`, `…_agreement_held_blocks`,
//! `…_sweeps_total{outcome}`, `…_swept_{height_blocks,addresses,addresses_full}`, `…_unknown_left_out_total`,
//! `…_found_late_total`, `…_odd_total{kind}`, `…_agreement_total{outcome}`, `…_outbox_{unsent,published_total,failures_total}`, `…_outbox_{settled,resent}_total`.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test reports by panicking"))]

mod balances;
mod check;
mod config;
mod engine;
mod evm;
mod pool;
mod publisher;
mod solana;
mod source;
mod status;

pub use balances::{Balance, BalanceBlock, BalanceBlockError, BalanceError, BalanceReader};
pub use check::{ChainReport, EndpointReport, TokenReport, check};
pub use config::{
    Agreement, ByAddress, ConfigError, EvmOptions, Finality, FinalityTag, RpcOptions, Traces, WatcherConfig,
};
pub use engine::odd::{OddError, Sighting, SightingKind, find_sighting, take_up};
pub use engine::{AddedTokens, ChainWatcher, Progress};
pub use publisher::{OutboxOptions, OutboxPublisher, OutboxSignal};
pub use source::{
    AddressReads, BlockData, BlockHeader, Candidate, ChainSource, Claims, Compared, Final, Found, Head, Mention, Place,
    Search, SourceError, Transfer, Witnesses,
};
pub use status::{ChainHealth, ChainState, ChainStatus, EndpointHealth, EndpointState};
