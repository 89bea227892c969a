//! Odd money as the watchers keep it: what became of a deposit that was seen, and taking up dust.
//!
//! Dust and tokens that are not configured are rows here and events nowhere: a stranger must not be able to fill the
//! ledger for the price of a few transactions. An operator who decides about one takes it up first: from then on it is
//! reported like any unmatched money.

use sqlx::{PgPool, Row};
use uuid::Uuid;
use wopay_domain::{AssetId, DepositKey, PaymentId};
use wopay_eventbus::begin;
use wopay_eventbus::commands::ObserveUnmatchedDeposit;

use super::apply::to_report;
use super::deposit_store::{self, DUST, Observation, UNKNOWN_TOKEN};
use super::store::{self, StoreError};
use crate::publisher::OutboxSignal;

/// What a deposit was taken for when it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SightingKind {
    /// Money, which the ledger is told of.
    Money,
    /// Less than what counts of its asset.
    Dust,
    /// Of a contract or mint that was not configured.
    UnknownToken,
}

/// A deposit as the watchers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The payment that claims its address.
    pub payment_id: Option<PaymentId>,
    /// What.
    pub asset: AssetId,
    /// What it was taken for.
    pub kind: SightingKind,
    /// Whether it is confirmed.
    pub is_confirmed: bool,
}

/// Why a deposit cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum OddError {
    /// No watcher has seen it.
    #[error("no watcher has seen that deposit")]
    NotSeen,
    /// It is money that the ledger knows, or is told of.
    #[error("the deposit is no dust: the ledger is told of it by itself")]
    NotOdd,
    /// It is not confirmed, or was orphaned.
    #[error("the deposit is not confirmed")]
    NotConfirmed,
    /// What is stored contradicts itself.
    #[error("{0}")]
    Corrupt(String),
    /// The database does not answer.
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
}

impl From<StoreError> for OddError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(error) => Self::Database(error),
            error @ StoreError::Corrupt(_) => Self::Corrupt(error.to_string()),
        }
    }
}

/// What the watchers know of a deposit.
///
/// # Errors
/// When the database does not answer, or what it holds cannot be read.
pub async fn find_sighting(pool: &PgPool, deposit: &DepositKey) -> Result<Option<Sighting>, OddError> {
    let (tx_hash, leg) = parts(deposit);
    let row = sqlx::query(
        "SELECT payment_id, asset, kind, stage
         FROM deposit_observations
         WHERE chain = $1 AND tx_hash = $2 AND leg = $3",
    )
    .bind(deposit.chain.as_str())
    .bind(tx_hash)
    .bind(leg)
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (asset, kind, stage): (String, String, String) =
        (row.try_get("asset")?, row.try_get("kind")?, row.try_get("stage")?);
    Ok(Some(Sighting {
        payment_id: row.try_get::<Option<Uuid>, _>("payment_id")?.map(PaymentId::from_uuid),
        asset: asset.parse().map_err(|error| OddError::Corrupt(format!("deposit {deposit}: {error}")))?,
        kind: match kind.as_str() {
            DUST => SightingKind::Dust,
            UNKNOWN_TOKEN => SightingKind::UnknownToken,
            _ => SightingKind::Money,
        },
        is_confirmed: stage == "confirmed",
    }))
}

/// Has the ledger told of a confirmed deposit that is dust or was of an unknown token, as money of nobody, whoever claims
/// its address. Answers with what it is told, so that the caller can say it at once; if the caller does not, the outbox
/// will. Whether the asset is configured by now is the caller's to know.
///
/// # Errors
/// When it is not there, not odd or not confirmed, or the database does not answer.
pub async fn take_up(
    pool: &PgPool,
    deposit: &DepositKey,
    signal: &OutboxSignal,
) -> Result<ObserveUnmatchedDeposit, OddError> {
    let sighting = find_sighting(pool, deposit).await?.ok_or(OddError::NotSeen)?;
    if sighting.kind == SightingKind::Money {
        return Err(OddError::NotOdd);
    }
    let mut tx = begin(pool).await?;
    // Revisions grow under the cursor's lock.
    let cursor = store::lock_cursor(&mut tx, &deposit.chain).await?.ok_or(OddError::NotSeen)?;
    let (tx_hash, leg) = parts(deposit);
    let taken: Option<Observation> = deposit_store::take_up(&mut tx, &deposit.chain, &tx_hash, &leg).await?;
    let taken = taken.ok_or(OddError::NotConfirmed)?;
    let ids = deposit_store::next_report_ids(&mut tx, 1).await?;
    let id = ids.first().copied().ok_or_else(|| OddError::Corrupt("no id for a report".to_owned()))?;
    let report = to_report(&deposit.chain, taken, id, cursor.height)?;
    let told = ObserveUnmatchedDeposit::from_body(report.body.as_bytes());
    let told = told.map_err(|error| OddError::Corrupt(format!("deposit {deposit}: {error}")))?;
    deposit_store::insert_reports(&mut tx, &deposit.chain, &[report]).await?;
    tx.commit().await?;
    signal.wake();
    Ok(told)
}

/// The transaction and the leg, as stored.
fn parts(deposit: &DepositKey) -> (String, String) {
    let text = deposit.to_string();
    let leg = text.splitn(3, ':').nth(2).unwrap_or_default();
    (deposit.transaction.clone(), leg.to_owned())
}
