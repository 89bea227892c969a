//! The routes: a folder per resource, a file per verb.

pub(crate) mod audit;
pub(crate) mod balances;
pub(crate) mod deposits;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod ledger;
pub(crate) mod openapi;
pub(crate) mod payments;
pub(crate) mod problems;
pub(crate) mod reports;
