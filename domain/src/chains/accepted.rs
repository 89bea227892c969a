//! A chain as it was accepted while the gateway ran, and whether a configuration still means that one.

use serde::{Deserialize, Serialize};

use crate::money::{Asset, AssetId};
use crate::{ChainFamily, ChainSpec, Timestamp};

/// A chain as it was when it was added. Endpoints and what may change at a restart stand in the configuration alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedChain {
    /// Its family.
    pub family: ChainFamily,
    /// EIP-155 chain id; `None` outside the EVM family.
    pub chain_id: Option<u64>,
    /// The genesis hash by which it is known where there is no chain id.
    pub genesis_hash: Option<String>,
    /// Confirmations that new payments asked for when it was added.
    pub required_confirmations: u32,
    /// What it accepted when it was added, the native coin first.
    pub assets: Vec<Asset>,
    /// When it was added.
    pub at: Timestamp,
}

/// In what a configured chain is not the one that was added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainDiffers {
    /// It is another chain.
    #[error("the configuration has {configured} under its name, the ledger {recorded}")]
    Identity {
        /// What the configuration says.
        configured: String,
        /// What the ledger says.
        recorded: String,
    },
    /// Amounts in the ledger rely on the decimals.
    #[error("{asset} has {configured} decimals in the configuration and {recorded} in the ledger")]
    Decimals {
        /// The asset.
        asset: AssetId,
        /// What the configuration says.
        configured: u8,
        /// What the ledger says.
        recorded: u8,
    },
    /// A token was exchanged for another one of the same symbol.
    #[error("{symbol} is {configured} in the configuration and {recorded} in the ledger")]
    Symbol {
        /// The symbol.
        symbol: String,
        /// What it names in the configuration.
        configured: AssetId,
        /// What it names in the ledger.
        recorded: AssetId,
    },
}

impl AcceptedChain {
    /// The configured chain with every asset with which it was added: those that the configuration no longer names stay
    /// accepted, for payments in them may be open.
    ///
    /// # Errors
    /// When it is not the chain that was added.
    pub fn complete(&self, configured: &ChainSpec) -> Result<ChainSpec, ChainDiffers> {
        if (self.family, self.chain_id) != (configured.family, configured.chain_id) {
            let (family, chain_id) = (configured.family, configured.chain_id);
            let (configured, recorded) = (identity(family, chain_id), identity(self.family, self.chain_id));
            return Err(ChainDiffers::Identity { configured, recorded });
        }
        let mut spec = configured.clone();
        for asset in &self.assets {
            match configured.asset(&asset.id) {
                Some(known) if known.decimals != asset.decimals => {
                    let (configured, recorded) = (known.decimals, asset.decimals);
                    return Err(ChainDiffers::Decimals { asset: asset.id.clone(), configured, recorded });
                }
                Some(_) => {}
                None => {
                    if let Some(other) = configured.asset_by_symbol(&asset.symbol) {
                        let (symbol, recorded) = (asset.symbol.clone(), asset.id.clone());
                        return Err(ChainDiffers::Symbol { symbol, configured: other.id.clone(), recorded });
                    }
                    spec.assets.push(asset.clone());
                }
            }
        }
        Ok(spec)
    }

    /// Whether both are the same chain, by whatever name.
    #[must_use]
    pub fn is_same_chain(&self, family: ChainFamily, chain_id: Option<u64>, genesis_hash: Option<&str>) -> bool {
        self.family == family && self.chain_id == chain_id && self.genesis_hash.as_deref() == genesis_hash
    }
}

fn identity(family: ChainFamily, chain_id: Option<u64>) -> String {
    match chain_id {
        Some(chain_id) => format!("a chain of the family {family} with the chain id {chain_id}"),
        None => format!("a chain of the family {family}"),
    }
}
