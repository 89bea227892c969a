//! The read model `merchants`: who they are and how they stand. Holds no secret and no key; see
//! `docs/decisions/0003-merchant-columns.md` for what the columns mean.

mod apply;
mod query;

pub(crate) use apply::apply;
pub use query::{MerchantRow, find, forgotten, list};

/// The name of a merchant whose profile was forgotten.
pub const FORGOTTEN: &str = "[forgotten]";

/// The status of a merchant that was forgotten.
const FORGOTTEN_STATUS: &str = "forgotten";
