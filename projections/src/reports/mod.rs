//! Reports by day, week and month: what merchants took in, and what it cost. Questions to the journal: no tables of their
//! own.
//!
//! Days begin at midnight UTC, weeks on Monday. Amounts of different assets are never added.

mod fees;
mod request;
mod volume;

pub use fees::{FeeRow, fees};
pub use request::{Granularity, GroupBy, ReportCursor, ReportRequest};
pub use volume::{VolumeRow, volume};
