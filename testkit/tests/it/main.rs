//! The testkit tested against the real servers it starts.

mod chain;
mod http;
mod servers;
