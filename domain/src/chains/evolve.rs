//! Folding events into the state. Never fails: what was recorded happened.

use super::accepted::AcceptedChain;
use super::event::ChainEvent;
use super::state::{AddedToken, Chain, Pause};

/// Folds one event into the chain.
pub fn evolve(chain: &mut Chain, event: ChainEvent) {
    match event {
        ChainEvent::ChainAdded(added) => {
            chain.accepted = Some(AcceptedChain {
                family: added.family,
                chain_id: added.chain_id,
                genesis_hash: added.genesis_hash,
                required_confirmations: added.required_confirmations,
                assets: added.assets,
                at: added.at,
            });
        }
        ChainEvent::ChainPaused(paused) => chain.paused = Some(Pause { reason: paused.reason, since: paused.at }),
        ChainEvent::ChainResumed(_) => chain.paused = None,
        ChainEvent::TokenAdded(added) => {
            let known = chain.added.iter().any(|known| known.token.id == added.token.id);
            if !known {
                chain.added.push(AddedToken { token: added.token, min_deposit: added.min_deposit, at: added.at });
            }
        }
        ChainEvent::TokenPaused(paused) => {
            chain.paused_assets.insert(paused.asset, Pause { reason: paused.reason, since: paused.at });
        }
        ChainEvent::TokenResumed(resumed) => {
            chain.paused_assets.remove(&resumed.asset);
        }
    }
}
