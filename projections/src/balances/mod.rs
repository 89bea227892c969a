//! What merchants have and what is on its way to them, from the journal and from the deposits that are seen. No tables of
//! its own: the books themselves are the read model [`journal`](crate::journal).

mod query;

pub use query::{BalanceRow, of_merchant};
