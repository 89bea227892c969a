//! The REST face of WoPay: merchants create payments, follow them and read their balances.
//!
//! What holds:
//! - Every refusal is an RFC 9457 problem with a code, the request's id and every field that is wrong; see [`problem`]
//!   and `error`, where each error of the inner crates becomes one.
//! - The type of a handler's argument says who may call it: [`auth::MerchantKey`]. Another merchant's object is a 404.
//! - A payment is read from its own events, so nobody is told less than they were told before; lists and balances come
//!   from projections and say as of which position of the ledger.
//! - Creating a payment costs one append and no read.
//! - A request's id is in its answer, its log lines and the metadata of the events that it causes.
//!
//! What is deliberately absent: SQL, decisions about payments (they are the domain's), keys to money, and anything that
//! happens after the answer.
//!
//! To add an endpoint: a file under `routes/`, a line in the table of `router`, a line in `openapi`.

pub mod auth;
pub mod problem;
pub mod request;

mod address_source;
mod chain_text;
mod clock;
mod edge;
mod error;
mod extract;
mod heads;
mod list;
mod meter;
mod openapi;
mod router;
mod routes;
mod state;
mod table;

pub use chain_text::{display_address, payment_uri};
pub use edge::REQUEST_DURATION_MAX;
pub use extract::BODY_BYTES_MAX;
pub use meter::REQUEST_DURATION;
pub use openapi::openapi;
pub use router::{Access, RouteInfo, router, routes};
pub use routes::health::{Check, Readiness, RenderMetrics, health_router};
pub use state::{ApiParts, AppState};
