//! The relay and the followers against a real Postgres and a real nats-server, with everything taken away from them
//! that can be. Whatever happens, each follower applies each position exactly once and in order.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

mod commands;
mod follower;
mod relay;
mod restored;
mod scan;
mod support;
mod weather;
