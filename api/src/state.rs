//! What handlers work with.

use std::ops::Deref;
use std::sync::Arc;

use sqlx::PgPool;
use url::Url;
use wopay_commands::{AddressLeases, Ledger, LiveCatalog};
use wopay_webhooks::Policy as UrlPolicy;

use crate::address_source::AddressSource;
use crate::auth::AuthCache;
use crate::heads::ChainHeads;

/// What the REST routes are built from.
pub struct ApiParts {
    /// The write side.
    pub ledger: Ledger,
    /// Where new payments get their addresses.
    pub addresses: AddressLeases,
    /// For reads of projections and chain heads.
    pub pool: PgPool,
    /// The chains and assets that are accepted at the moment.
    pub catalog: LiveCatalog,
    /// Who may call.
    pub auth: AuthCache,
    /// Which callback URLs are accepted.
    pub url_policy: UrlPolicy,
    /// Where this installation is reached from outside, for links in answers; a path at its end is kept.
    pub public_base_url: Url,
}

/// [`ApiParts`] as handlers share them; one pointer to clone.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// What [`AppState`] points to.
pub struct Shared {
    pub(crate) parts: ApiParts,
    pub(crate) addresses: AddressSource,
    pub(crate) heads: ChainHeads,
    /// [`ApiParts::public_base_url`] without a slash at its end.
    pub(crate) base_url: String,
}

impl AppState {
    /// Shares the parts.
    #[must_use]
    pub fn new(parts: ApiParts) -> Self {
        let base_url = parts.public_base_url.as_str().trim_end_matches('/').to_owned();
        let heads = ChainHeads::new(parts.pool.clone());
        let addresses = AddressSource::new(parts.addresses.clone());
        Self(Arc::new(Shared { parts, addresses, heads, base_url }))
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
