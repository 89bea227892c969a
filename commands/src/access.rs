//! Commands of access keys, and who holds a key.

use std::error::Error;

use wopay_domain::access::{AccessKey, AccessKeyCommand, AccessKeyError, AccessKeyState, IssueAccessKey};
use wopay_domain::merchant::MerchantState;
use wopay_domain::{AccessKeyId, ApiKeyId, MerchantId, Metadata};

use crate::claims::{AccessKeyDetail, ApiKeyDetail, Claim, ClaimKind, KeyDetail};
use crate::error::{AppendError, ExecuteError, LoadError};
use crate::ledger::{Decided, Executed, Ledger};
use crate::store::{LedgerContext, find_claim};

type AccessResult<T> = Result<T, ExecuteError<AccessKeyError>>;

/// Who a key belongs to. A key is found also when it is revoked or its merchant is suspended: ask
/// [`MerchantState::accepts`] or [`AccessKeyState::is_live`].
#[derive(Clone, Debug, PartialEq)]
pub enum KeyHolder {
    /// A merchant, with the id of the key.
    Merchant(Box<MerchantState>, ApiKeyId),
    /// The house.
    Access(AccessKeyState),
}

impl Ledger {
    /// Issues an access key. `key_sha256_hex` is the SHA-256 of its text in hex; the text itself comes here never.
    ///
    /// # Errors
    /// [`ExecuteError::ClaimTaken`] when the hash is some key's already, and what the domain or the append say. Nothing
    /// was written, unless the append's outcome is unknown.
    pub async fn issue_access_key(
        &self,
        issue: IssueAccessKey,
        key_sha256_hex: &str,
        metadata: &Metadata,
    ) -> AccessResult<Executed<AccessKeyState>> {
        let id = issue.key_id.to_string();
        let claims = vec![Claim::access_key(key_sha256_hex, issue.key_id, issue.role)];
        let commands = vec![AccessKeyCommand::Issue(issue)];
        match self.decide_and_append(&id, LedgerContext::new(&id), commands, claims, metadata).await {
            Ok(decided) => executed(&decided),
            Err(ExecuteError::Append(AppendError::Conflict { .. })) => {
                Err(ExecuteError::Domain(AccessKeyError::AlreadyIssued))
            }
            Err(error) => Err(error),
        }
    }

    /// Makes an access key useless, for ever; a success without a position when it was already.
    ///
    /// # Errors
    /// What the domain or the append say, [`ExecuteError::Contended`] when every try lost.
    pub async fn revoke_access_key(
        &self,
        id: AccessKeyId,
        at: wopay_domain::Timestamp,
        metadata: &Metadata,
    ) -> AccessResult<Executed<AccessKeyState>> {
        let turn = self.turn(&id).await;
        let revoke = async || {
            let text = id.to_string();
            let context = self.shared.store.load::<AccessKey>(&text).await?;
            let commands = vec![AccessKeyCommand::Revoke { at }];
            executed(&self.decide_and_append(&text, context, commands, Vec::new(), metadata).await?)
        };
        let executed = self.retry(revoke).await;
        drop(turn);
        executed
    }

    /// An access key as its own stream says.
    ///
    /// # Errors
    /// When the stream cannot be read or understood.
    pub async fn access_key(&self, id: AccessKeyId) -> Result<Option<AccessKeyState>, LoadError> {
        let context = self.shared.store.load::<AccessKey>(&id.to_string()).await?;
        Ok(context.state().state().cloned())
    }

    /// Every access key there ever was, oldest first.
    ///
    /// # Errors
    /// When the ledger cannot be read or understood.
    pub async fn access_keys(&self) -> Result<Vec<AccessKeyState>, LoadError> {
        let ids = crate::store::access_key_ids(&self.shared.pool).await;
        let ids = ids.map_err(|error| LoadError::Database(error.into()))?;
        let mut keys = Vec::with_capacity(ids.len());
        for id in ids {
            let id: AccessKeyId = id.parse().map_err(|error: uuid::Error| LoadError::Corrupt(error.into()))?;
            keys.extend(self.access_key(id).await?);
        }
        Ok(keys)
    }

    /// Who holds this API or access key (SHA-256 of its text, in hex).
    ///
    /// # Errors
    /// When the claim or the holder's stream cannot be read or understood.
    pub async fn key_holder(&self, key_sha256_hex: &str) -> Result<Option<KeyHolder>, LoadError> {
        let found = find_claim(&self.shared.pool, ClaimKind::ApiKey, key_sha256_hex).await;
        let Some((holder, detail)) = found.map_err(|error| LoadError::Database(error.into()))? else {
            return Ok(None);
        };
        let detail = serde_json::from_str(detail.as_deref().unwrap_or_default()).map_err(corrupt)?;
        match detail {
            KeyDetail::Merchant(ApiKeyDetail { key_id }) => {
                let id: MerchantId = holder.parse().map_err(corrupt)?;
                let merchant = self.merchant(id).await?;
                let merchant =
                    merchant.ok_or_else(|| corrupt(format!("an API key is held by {id}, which is no merchant")))?;
                Ok(Some(KeyHolder::Merchant(Box::new(merchant), key_id)))
            }
            KeyDetail::Access(AccessKeyDetail { key_id, role }) => {
                let key = self.access_key(key_id).await?;
                // What a key may read is an event; the claim only repeats it, and must not be able to say more.
                let key = key.filter(|key| key.role == role && holder == key_id.to_string());
                let key =
                    key.ok_or_else(|| corrupt(format!("an API key is held by {holder}, which did not get it")))?;
                Ok(Some(KeyHolder::Access(key)))
            }
        }
    }
}

fn corrupt(error: impl Into<Box<dyn Error + Send + Sync>>) -> LoadError {
    LoadError::Corrupt(error.into())
}

fn executed(decided: &Decided<AccessKey>) -> AccessResult<Executed<AccessKeyState>> {
    let context = &decided.context;
    let state = context.state().state().cloned().ok_or(ExecuteError::Domain(AccessKeyError::NotFound))?;
    Ok(Executed { position: decided.appended.map(|appended| appended.position), sequence: context.sequence(), state })
}
