//! The cache of API keys and access keys.
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
use wopay_commands::{KeyHolder, Ledger, LoadError};
use wopay_domain::access::{AccessKeyState, AccessRole};
use wopay_domain::merchant::{MerchantPolicy, MerchantState};
use wopay_domain::{AccessKeyId, ApiKeyId, MerchantId};

const KEYS_MAX: u64 = 100_000;

/// A second line: should an invalidation ever be missed, a key lives no longer than this.
const KEPT_FOR: Duration = Duration::from_secs(300);

type KeyHash = [u8; 32];

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownKey {
    pub(crate) holder: Holder,
    pub(crate) standing: KeyStanding,
}

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A merchant's, with the rules of its payments.
    Merchant { merchant: MerchantId, key: ApiKeyId, policy: MerchantPolicy },
    /// The house's.
    Access { key: AccessKeyId, role: AccessRole },
}

/// Whether requests with the key are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyStanding {
    Good,
    Revoked,
    MerchantSuspended,
}

impl KnownKey {
    fn of(holder: &KeyHolder) -> Self {
        match holder {
            KeyHolder::Merchant(merchant, key) => Self::of_merchant(merchant, *key),
            KeyHolder::Access(key) => Self::of_house(key),
        }
    }

    fn of_merchant(merchant: &MerchantState, key: ApiKeyId) -> Self {
        let live = merchant.api_keys.get(&key).is_some_and(|key| key.revoked_at.is_none());
        let standing = match (live, &merchant.suspended) {
            (false, _) => KeyStanding::Revoked,
            (true, Some(_)) => KeyStanding::MerchantSuspended,
            (true, None) => KeyStanding::Good,
        };
        Self { holder: Holder::Merchant { merchant: merchant.id, key, policy: merchant.policy }, standing }
    }

    fn of_house(key: &AccessKeyState) -> Self {
        let standing = if key.is_live() { KeyStanding::Good } else { KeyStanding::Revoked };
        Self { holder: Holder::Access { key: key.id, role: key.role }, standing }
    }
}

/// Keys that were looked up. Cheap to clone; clones share what they hold.
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
            MerchantChange::Merchant(changed) => {
                self.forget(move |holder| matches!(holder, Holder::Merchant { merchant, .. } if *merchant == changed));
            }
            MerchantChange::AccessKey(changed) => {
                self.forget(move |holder| matches!(holder, Holder::Access { key, .. } if *key == changed));
            }
            MerchantChange::Chain => {}
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

    fn forget(&self, changed: impl Fn(&Holder) -> bool + Send + Sync + 'static) {
        self.0.generation.fetch_add(1, Ordering::SeqCst);
        let forgotten = self.0.keys.invalidate_entries_if(move |_, known| changed(&known.holder));
        if forgotten.is_err() {
            // Only possible without `support_invalidation_closures`; forgetting too much is never wrong.
            self.forget_all();
        }
    }

    fn forget_all(&self) {
        self.0.generation.fetch_add(1, Ordering::SeqCst);
        self.0.keys.invalidate_all();
    }

    /// What is known of a key; `None` if there is no such key.
    pub(crate) async fn look_up(&self, ledger: &Ledger, key: &[u8]) -> Result<Option<KnownKey>, LoadError> {
        let hash: KeyHash = Sha256::digest(key).into();
        if self.0.open.load(Ordering::SeqCst)
            && let Some(known) = self.0.keys.get(&hash)
        {
            return Ok(Some(known));
        }
        let generation = self.0.generation.load(Ordering::SeqCst);
        // Unknown keys are not kept: they are too many, and one that is issued must work at once.
        let Some(holder) = ledger.key_holder(&hex::encode(hash)).await? else { return Ok(None) };
        let known = KnownKey::of(&holder);
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
    use wopay_commands::merchant_changes::MerchantChange;
    use wopay_domain::access::AccessRole;
    use wopay_domain::merchant::MerchantPolicy;
    use wopay_domain::{AccessKeyId, ApiKeyId, MerchantId};

    use super::{AuthCache, Holder, KeyStanding, KnownKey};

    fn of_merchant(merchant: MerchantId) -> KnownKey {
        let key = ApiKeyId::from_uuid(Uuid::now_v7());
        let holder = Holder::Merchant { merchant, key, policy: MerchantPolicy::default() };
        KnownKey { holder, standing: KeyStanding::Good }
    }

    fn of_house(key: AccessKeyId) -> KnownKey {
        KnownKey { holder: Holder::Access { key, role: AccessRole::Finance }, standing: KeyStanding::Good }
    }

    fn merchant_id() -> MerchantId {
        MerchantId::from_uuid(Uuid::now_v7())
    }

    #[test]
    fn nothing_is_kept_while_closed_or_from_before_a_change() {
        let cache = AuthCache::new();
        let merchant = merchant_id();
        let (hash, known) = ([7; 32], of_merchant(merchant));
        let generation = || cache.0.generation.load(std::sync::atomic::Ordering::SeqCst);

        cache.keep(hash, known, generation());
        assert_eq!(cache.0.keys.get(&hash), None, "closed");

        cache.open();
        let before = generation();
        cache.apply(MerchantChange::Merchant(merchant));
        cache.keep(hash, known, before);
        assert_eq!(cache.0.keys.get(&hash), None, "read before the change");

        cache.keep(hash, known, generation());
        assert_eq!(cache.0.keys.get(&hash), Some(known));
        cache.close();
        assert_eq!(cache.0.keys.get(&hash), None);
    }

    #[test]
    fn forgetting_one_leaves_the_others() {
        let cache = AuthCache::new();
        cache.open();
        let generation = cache.0.generation.load(std::sync::atomic::Ordering::SeqCst);
        let (merchant, key) = (merchant_id(), AccessKeyId::from_uuid(Uuid::now_v7()));
        let (stays, house_stays) = (of_merchant(merchant_id()), of_house(AccessKeyId::from_uuid(Uuid::now_v7())));
        for (hash, known) in [(1, of_merchant(merchant)), (2, stays), (3, of_house(key)), (4, house_stays)] {
            cache.keep([hash; 32], known, generation);
        }
        cache.apply(MerchantChange::Merchant(merchant));
        cache.apply(MerchantChange::AccessKey(key));
        let kept = [1, 2, 3, 4].map(|hash| cache.0.keys.get(&[hash; 32]));
        assert_eq!(kept, [None, Some(stays), None, Some(house_stays)]);
    }
}
