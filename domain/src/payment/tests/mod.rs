//! The rulebook of a payment: given events, when a command, then events; and what must hold for all inputs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests stop at the first surprise")]

mod books;
mod decisions;
mod fixture;
mod properties;
mod reassigned;
mod refunds;
mod rules;
mod shapes;
