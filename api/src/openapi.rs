//! The description of the API, made from the code.
//!
//! `api/openapi.json` holds what [`openapi`] gives; a test fails when they differ and says how to write it anew.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::routes::{balances, openapi as document, payments, problems};

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
        document::document,
        problems::explain,
    ),
    tags(
        (name = "payments", description = "What payers are asked for"),
        (name = "balances", description = "What the books say"),
        (name = "meta", description = "About the API itself"),
    ),
    modifiers(&ApiKey)
)]
struct Description;

struct ApiKey;

impl Modify for ApiKey {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let mut http = Http::new(HttpAuthScheme::Bearer);
        http.description = Some("An API key of a merchant".to_owned());
        openapi.components.get_or_insert_default().add_security_scheme("api_key", SecurityScheme::Http(http));
    }
}

/// The OpenAPI document of [`router`](crate::router()).
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Description::openapi()
}
