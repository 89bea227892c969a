//! Blocks that no endpoint can trace.
//!
//! Anybody can fill a block with calls whose traces are larger, or take longer, than endpoints give. Such a block must not
//! hold the chain up: after some tries it is processed without its traces, and balances are compared, so that what came
//! inside it is found by them (`docs/decisions/0021-native-from-contracts.md`).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics::counter;
use tracing::error;
use wopay_domain::ChainName;

use super::error::{CallError, EvmError};

/// So many times all endpoints are asked for a block's traces.
const TRIES: u32 = 3;
/// So many blocks after the first comparison, balances are compared.
const COMPARED_BLOCKS: u64 = 128;
/// Heights remembered, at most.
const HEIGHTS_MAX: usize = 1024;

/// What is known of blocks that cannot be traced.
#[derive(Debug)]
pub(super) struct Untraced {
    chain: ChainName,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How often all endpoints were asked in vain.
    tries: HashMap<u64, u32>,
    /// The highest block that was processed without traces.
    highest: Option<u64>,
    /// Where balances were first compared since.
    compared_at: Option<u64>,
}

/// What the endpoints asked for one block have come to.
#[derive(Debug, Default)]
pub(super) struct Round {
    untraced: bool,
    otherwise: bool,
}

impl Round {
    pub(super) fn note(&mut self, failure: &EvmError) {
        match failure {
            EvmError::Untraced { .. } => self.untraced = true,
            // Who cannot be reached will not trace it either.
            EvmError::Call(CallError::Transport { .. }) => {}
            _ => self.otherwise = true,
        }
    }
}

impl Untraced {
    pub(super) fn new(chain: ChainName) -> Self {
        Self { chain, state: Mutex::default() }
    }

    /// A panic elsewhere leaves numbers behind that are good enough.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All endpoints have failed to give the block. `true`: it is to be processed without traces.
    pub(super) fn give_up(&self, height: u64, round: &Round) -> bool {
        if !round.untraced || round.otherwise {
            return false;
        }
        let mut state = self.lock();
        if state.tries.len() >= HEIGHTS_MAX {
            state.tries.clear();
        }
        let tries = state.tries.entry(height).or_default();
        *tries = tries.saturating_add(1);
        if *tries < TRIES {
            return false;
        }
        state.highest = state.highest.max(Some(height));
        state.compared_at = None;
        error!(
            chain = %self.chain,
            height,
            "NO endpoint can trace this block: what contracts sent in it is looked for by the balances of open payments only"
        );
        counter!("wopay_chain_watchers_untraced_blocks_total", "chain" => self.chain.to_string()).increment(1);
        true
    }

    /// Whether balances are compared at that height for what was not traced.
    pub(super) fn is_compared(&self, height: u64) -> bool {
        let state = self.lock();
        let within = state.compared_at.is_none_or(|at| height < at.saturating_add(COMPARED_BLOCKS));
        state.highest.is_some_and(|highest| height >= highest && within)
    }

    /// Balances were read at that height.
    pub(super) fn note_compared(&self, height: u64) {
        let mut state = self.lock();
        if state.highest.is_some_and(|highest| height >= highest) {
            state.compared_at.get_or_insert(height);
        }
    }
}
