//! Where new payments get their addresses.
//!
//! A request takes its address before it is known whether its order is new. When the order turns out to exist, nothing
//! was written with the address, so the next request gets it: otherwise a client that repeats one order could use up the
//! pool of everybody. Should an address ever come back wrongly, its claim in the ledger still keeps it from a second
//! payment.

use std::sync::{Mutex, MutexGuard, PoisonError};

use wopay_commands::{AddressLeases, LeaseError};
use wopay_domain::ChainFamily;

/// Spare addresses that are kept; what comes back beyond that is lost.
const SPARES_MAX: usize = 1_024;

/// The leases of this process, and addresses that were taken and not used.
pub(crate) struct AddressSource {
    leases: AddressLeases,
    spares: Mutex<Vec<(ChainFamily, String)>>,
}

impl AddressSource {
    pub(crate) fn new(leases: AddressLeases) -> Self {
        Self { leases, spares: Mutex::default() }
    }

    /// An address of this family that no payment has.
    pub(crate) async fn take(&self, family: ChainFamily) -> Result<String, LeaseError> {
        match self.take_spare(family) {
            Some(address) => Ok(address),
            None => self.leases.take(family).await,
        }
    }

    /// Takes back an address of which it is certain that no payment was opened with it.
    pub(crate) fn give_back(&self, family: ChainFamily, address: String) {
        let mut spares = self.spares();
        if spares.len() < SPARES_MAX {
            spares.push((family, address));
        }
    }

    fn take_spare(&self, family: ChainFamily) -> Option<String> {
        let mut spares = self.spares();
        let index = spares.iter().position(|(of, _)| *of == family)?;
        Some(spares.swap_remove(index).1)
    }

    fn spares(&self) -> MutexGuard<'_, Vec<(ChainFamily, String)>> {
        // Whole whatever happened to another holder of the lock.
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
