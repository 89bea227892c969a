//! The table of routes. The router is built from it, the description lists the same, and a test asks every route in it
//! without a key and with another merchant's.

use std::collections::BTreeMap;

use axum::Router;
use axum::http::Method;
use axum::routing::{MethodRouter, get, post};

use crate::edge::{EdgeLayer, Loudness};
use crate::problem::{Problem, ProblemCode};
use crate::routes::{audit, balances, deposits, events, ledger, openapi, payments, problems, reports};
use crate::state::AppState;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// A merchant with an API key; what it sees is its own.
    Merchant,
    /// A merchant for its own, and any access key of the house for everybody's.
    Reader,
    /// Any access key of the house: finance or auditor.
    House,
    /// A merchant for its own, and an auditor's access key for everybody's.
    ProofReader,
    /// An auditor's access key.
    Auditor,
}

/// A route as the table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// The method.
    pub method: Method,
    /// The path's template, such as `/api/v1/payments/{id}`.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
}

struct Endpoint {
    info: RouteInfo,
    handler: MethodRouter<AppState>,
}

fn endpoints() -> Vec<Endpoint> {
    use Access::{Auditor, House, Merchant, ProofReader, Public, Reader};
    let endpoint = |method, path, access, handler| Endpoint { info: RouteInfo { method, path, access }, handler };
    vec![
        endpoint(Method::POST, "/api/v1/payments", Merchant, post(payments::create::create)),
        endpoint(Method::GET, "/api/v1/payments", Merchant, get(payments::list::list)),
        endpoint(Method::GET, "/api/v1/payments/{id}", Merchant, get(payments::get::get)),
        endpoint(Method::POST, "/api/v1/payments/{id}/cancel", Merchant, post(payments::cancel::cancel)),
        endpoint(Method::GET, "/api/v1/balances", Merchant, get(balances::list)),
        endpoint(Method::GET, "/api/v1/ledger/accounts", Reader, get(ledger::accounts::list)),
        endpoint(Method::GET, "/api/v1/ledger/entries", Reader, get(ledger::entries::list)),
        endpoint(Method::GET, "/api/v1/ledger/statements", Reader, get(ledger::statements::get)),
        endpoint(Method::GET, "/api/v1/ledger/trial-balance", House, get(ledger::trial_balance::get)),
        endpoint(Method::GET, "/api/v1/deposits", House, get(deposits::list)),
        endpoint(Method::GET, "/api/v1/reports/volume", Reader, get(reports::volume::get)),
        endpoint(Method::GET, "/api/v1/reports/fees", Reader, get(reports::fees::get)),
        endpoint(Method::GET, "/api/v1/events", Reader, get(events::list)),
        endpoint(Method::GET, "/api/v1/audit/checkpoint", Public, get(audit::checkpoint::get)),
        endpoint(Method::GET, "/api/v1/audit/proof", ProofReader, get(audit::proof::get)),
        endpoint(Method::GET, "/api/v1/audit/tile/{level}/{*index}", Public, get(audit::tile::hashes)),
        endpoint(Method::GET, "/api/v1/audit/tile/entries/{*index}", Auditor, get(audit::tile::entries)),
        endpoint(Method::GET, "/api/v1/openapi.json", Public, get(openapi::document)),
        endpoint(Method::GET, "/problems/{code}", Public, get(problems::explain)),
    ]
}

/// Every REST route of [`router`].
#[must_use]
pub fn routes() -> Vec<RouteInfo> {
    endpoints().into_iter().map(|endpoint| endpoint.info).collect()
}

/// The REST API. Everything that is not a route of it is answered with a problem as well.
pub fn router(state: AppState) -> Router {
    let mut paths: BTreeMap<&'static str, MethodRouter<AppState>> = BTreeMap::new();
    for Endpoint { info, handler } in endpoints() {
        let known = paths.remove(info.path).unwrap_or_default();
        paths.insert(info.path, known.merge(handler));
    }
    let mut router = Router::new();
    for (path, handlers) in paths {
        let handlers = handlers.fallback(method_not_allowed).layer(EdgeLayer::new(path, Loudness::Info));
        router = router.route(path, handlers);
    }
    let unmatched = MethodRouter::new().fallback(not_found).layer(EdgeLayer::new("unmatched", Loudness::Info));
    router.fallback_service(unmatched.with_state(state.clone())).with_state(state)
}

async fn method_not_allowed() -> Problem {
    Problem::new(ProblemCode::MethodNotAllowed, "The path exists, but not with this method.")
}

async fn not_found() -> Problem {
    Problem::new(ProblemCode::NotFound, "There is no such path.")
}
