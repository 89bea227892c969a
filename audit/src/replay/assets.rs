//! The assets that events name: without their decimals, amounts are bare numbers.

use std::collections::BTreeMap;

use wopay_domain::chains::ChainEvent;
use wopay_domain::payment::PaymentEvent;
use wopay_domain::{Asset, AssetId, LedgerEvent};

/// The types of the events that name assets.
pub(crate) const NAMING: [&str; 3] = ["PaymentCreated", "ChainAdded", "TokenAdded"];

/// Takes in the assets that an event names: a payment its own, a chain or a token what is accepted from then on. The first
/// name counts: an asset keeps its decimals.
pub(crate) fn learn(assets: &mut BTreeMap<AssetId, Asset>, event: &LedgerEvent) {
    let named = match event {
        LedgerEvent::Payment(PaymentEvent::PaymentCreated(created)) => std::slice::from_ref(&created.terms.asset),
        LedgerEvent::Chain(ChainEvent::ChainAdded(added)) => added.assets.as_slice(),
        LedgerEvent::Chain(ChainEvent::TokenAdded(added)) => std::slice::from_ref(&added.token),
        _ => &[],
    };
    for asset in named {
        if !assets.contains_key(&asset.id) {
            assets.insert(asset.id.clone(), asset.clone());
        }
    }
}
