//! The description of the API, made from the code.
//!
//! `api/openapi.json` holds what [`openapi`] gives; a test fails when they differ and says how to write it anew.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::routes::{audit, balances, deposits, events, ledger, openapi as document, payments, problems, reports};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "WoPay",
        version = "1",
        description = "Create payments and read what became of them. Amounts are decimal strings. Every refusal is a \
                       problem (RFC 9457); `errors` names every field that is wrong. The header `x-request-id` (1 to \
                       128 characters of A-Z a-z 0-9 . _ ~ : @ / + = -) names a request in answers, logs and events; \
                       one is made for requests without it. The page behind `checkout_url` is part of the console.",
        license(name = "Apache-2.0")
    ),
    paths(
        payments::create::create,
        payments::list::list,
        payments::get::get,
        payments::cancel::cancel,
        balances::list,
        ledger::accounts::list,
        ledger::entries::list,
        ledger::statements::get,
        ledger::trial_balance::get,
        deposits::list,
        reports::volume::get,
        reports::fees::get,
        events::list,
        audit::checkpoint::get,
        audit::proof::get,
        audit::tile::hashes,
        audit::tile::entries,
        document::document,
        problems::explain,
    ),
    tags(
        (name = "payments", description = "What payers are asked for"),
        (name = "balances", description = "What the books say"),
        (name = "ledger", description = "The books, as of any moment, as JSON or CSV"),
        (name = "reports", description = "Sums by day, week and month, as JSON or CSV"),
        (name = "events", description = "What happened, as it stands in the ledger"),
        (name = "audit", description = "The Merkle log over all events, in the formats of C2SP"),
        (name = "meta", description = "About the API itself"),
    ),
    modifiers(&Keys)
)]
struct Description;

struct Keys;

impl Modify for Keys {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let keys = [
            ("api_key", "An API key of a merchant"),
            ("access_key", "An access key of the house: finance or auditor (`wopay access create`)"),
        ];
        for (name, description) in keys {
            let mut http = Http::new(HttpAuthScheme::Bearer);
            http.description = Some(description.to_owned());
            components.add_security_scheme(name, SecurityScheme::Http(http));
        }
    }
}

/// The OpenAPI document of [`router`](crate::router()).
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Description::openapi()
}
