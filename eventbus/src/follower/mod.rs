//! A follower applies the log to one handler: every position exactly once, in order, its checkpoint in the same
//! transaction.
//!
//! There is one path for start, loss and silence: read the log after the checkpoint. NATS only makes it faster, by
//! bringing the events without a poll.

mod apply;
mod feed;
mod handler;
mod run;
mod status;

pub use handler::{EventHandler, HandlerError};
pub use run::Follower;
pub use status::FollowerStatus;
