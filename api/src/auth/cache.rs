//! The cache of API keys.
//!
//! It promises that a key is refused as soon as its revocation is known to this process, and that a process which cannot
//! hear of revocations does not use the cache at all: it starts closed, and whoever runs
//! [`wopay_commands::merchant_changes::watch`] hands every change to [`AuthCache::apply`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use sha2::{Digest, Sha256};
use wopay_commands::merchant_changes::MerchantChange;
use wopay_commands::{Ledger, LoadError};
use wopay_domain::merchant::{MerchantPolicy, MerchantState};
use wopay_domain::{ApiKeyId, MerchantId};

const KEYS_MAX: u64 = 100_000;

/// A second line: should an invalidation ever be missed, a key lives no longer than this.
const KEPT_FOR: Duration = Duration::from_secs(300);

type KeyHash = [u8; 32];

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownKey {
    pub(crate) merchant: MerchantId,
    pub(crate) key: ApiKeyId,
    pub(crate) policy: MerchantPolicy,
    pub(crate) standing: KeyStanding,
}

/// Whether requests with the key are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyStanding {
    Good,
    Revoked,
    MerchantSuspended,
}

impl KnownKey {
    fn of(merchant: &MerchantState, key: ApiKeyId) -> Self {
        let live = merchant.api_keys.get(&key).is_some_and(|key| key.revoked_at.is_none());
        let standing = match (live, &merchant.suspended) {
            (false, _) => KeyStanding::Revoked,
            (true, Some(_)) => KeyStanding::MerchantSuspended,
            (true, None) => KeyStanding::Good,
        };
        Self { merchant: merchant.id, key, policy: merchant.policy, standing }
    }
}

/// API keys that were looked up. Cheap to clone; clones share what they hold.
#[derive(Clone, Debug)]
pub struct AuthCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    keys: Cache<KeyHash, KnownKey>,
    open: AtomicBool,
    /// Grows with every change, so that what was read before a change is not kept after it.
    generation: AtomicU64,
}

impl Default for AuthCache {
    fn default() -> Self {
        Self::new()
    }
}

impl AuthCache {
    /// An empty cache, closed: every key is looked up in the ledger until a [`MerchantChange::Watching`] comes.
    #[must_use]
    pub fn new() -> Self {
        let keys =
            Cache::builder().max_capacity(KEYS_MAX).time_to_live(KEPT_FOR).support_invalidation_closures().build();
        Self(Arc::new(Inner { keys, open: AtomicBool::new(false), generation: AtomicU64::new(0) }))
    }

    /// Takes note of a change, or of hearing or not hearing of changes.
    pub fn apply(&self, change: MerchantChange) {
        match change {
            MerchantChange::Watching => self.open(),
            MerchantChange::Merchant(merchant) => self.forget(merchant),
            MerchantChange::Blind => self.close(),
        }
    }

    fn open(&self) {
        self.forget_all();
        self.0.open.store(true, Ordering::SeqCst);
    }

    fn close(&self) {
        self.0.open.store(false, Ordering::SeqCst);
        self.forget_all();
    }

    fn forget(&self, merchant: MerchantId) {
        self.0.generation.fetch_add(1, Ordering::SeqCst);
        let forgotten = self.0.keys.invalidate_entries_if(move |_, known| known.merchant == merchant);
        if forgotten.is_err() {
            // Only possible without `support_invalidation_closures`; forgetting too much is never wrong.
            self.forget_all();
        }
    }

    fn forget_all(&self) {
        self.0.generation.fetch_add(1, Ordering::SeqCst);
        self.0.keys.invalidate_all();
    }

    /// What is known of an API key; `None` if there is no such key.
    pub(crate) async fn look_up(&self, ledger: &Ledger, api_key: &[u8]) -> Result<Option<KnownKey>, LoadError> {
        let hash: KeyHash = Sha256::digest(api_key).into();
        if self.0.open.load(Ordering::SeqCst)
            && let Some(known) = self.0.keys.get(&hash)
        {
            return Ok(Some(known));
        }
        let generation = self.0.generation.load(Ordering::SeqCst);
        // Unknown keys are not kept: they are too many, and one that is issued must work at once.
        let Some((merchant, key)) = ledger.merchant_by_api_key(&hex::encode(hash)).await? else { return Ok(None) };
        let known = KnownKey::of(&merchant, key);
        self.keep(hash, known, generation);
        Ok(Some(known))
    }

    /// Keeps what was read, unless something changed since the reading began. The second look catches a change between
    /// the first look and the insertion.
    fn keep(&self, hash: KeyHash, known: KnownKey, generation: u64) {
        let current = || self.0.open.load(Ordering::SeqCst) && self.0.generation.load(Ordering::SeqCst) == generation;
        if current() {
            self.0.keys.insert(hash, known);
            if !current() {
                self.0.keys.invalidate(&hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use wopay_domain::merchant::MerchantPolicy;
    use wopay_domain::{ApiKeyId, MerchantId};

    use super::{AuthCache, KeyStanding, KnownKey};

    fn known() -> KnownKey {
        KnownKey {
            merchant: MerchantId::from_uuid(Uuid::now_v7()),
            key: ApiKeyId::from_uuid(Uuid::now_v7()),
            policy: MerchantPolicy::default(),
            standing: KeyStanding::Good,
        }
    }

    #[test]
    fn nothing_is_kept_while_closed_or_from_before_a_change() {
        let cache = AuthCache::new();
        let (hash, known) = ([7; 32], known());
        let generation = || cache.0.generation.load(std::sync::atomic::Ordering::SeqCst);

        cache.keep(hash, known, generation());
        assert_eq!(cache.0.keys.get(&hash), None, "closed");

        cache.open();
        let before = generation();
        cache.forget(known.merchant);
        cache.keep(hash, known, before);
        assert_eq!(cache.0.keys.get(&hash), None, "read before the change");

        cache.keep(hash, known, generation());
        assert_eq!(cache.0.keys.get(&hash), Some(known));
        cache.close();
        assert_eq!(cache.0.keys.get(&hash), None);
    }

    #[test]
    fn forgetting_a_merchant_leaves_the_others() {
        let cache = AuthCache::new();
        cache.open();
        let generation = cache.0.generation.load(std::sync::atomic::Ordering::SeqCst);
        let (gone, stays) = (known(), known());
        cache.keep([1; 32], gone, generation);
        cache.keep([2; 32], stays, generation);
        cache.forget(gone.merchant);
        assert_eq!(cache.0.keys.get(&[1; 32]), None);
        assert_eq!(cache.0.keys.get(&[2; 32]), Some(stays));
    }
}
