//! The routes: a folder per resource, a file per verb.

pub(crate) mod balances;
pub(crate) mod health;
pub(crate) mod openapi;
pub(crate) mod payments;
pub(crate) mod problems;
