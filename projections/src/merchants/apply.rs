//! Writes `merchants` and `merchant_api_keys`: registrations, then keys, then what changed.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;
use wopay_domain::merchant::{ApiKeyIssued, ApiKeyRevoked, MerchantEvent, MerchantRegistered};
use wopay_domain::{MerchantId, Timestamp};

use super::{FORGOTTEN, FORGOTTEN_STATUS};
use crate::batch::Batch;
use crate::decode::storable;
use crate::error::{ApplyError, PoisonError};
use crate::profiles::{Profile, ProfileError, Profiles};

/// Folds a batch into `merchants` and `merchant_api_keys`.
pub(crate) async fn apply(
    connection: &mut PgConnection,
    batch: &Batch<'_>,
    profiles: &dyn Profiles,
) -> Result<(), ApplyError> {
    let mut changes = Changes::default();
    for (position, id, event) in batch.merchants() {
        changes.record(position, id, event);
    }
    if changes.touched.is_empty() {
        return Ok(());
    }
    insert_merchants(connection, &changes.registered, profiles).await?;
    insert_keys(connection, &changes.issued).await?;
    revoke_keys(connection, &changes.revoked).await?;
    let expected = u64::try_from(changes.touched.len()).unwrap_or(u64::MAX);
    let changed = update_merchants(connection, &changes.touched).await?;
    if changed != expected {
        let source = PoisonError::RowsMissing { table: "merchants", expected, changed };
        return Err(ApplyError::poison(batch.first_position(), source));
    }
    Ok(())
}

/// What the events of one batch do.
#[derive(Default)]
struct Changes<'a> {
    registered: Vec<(i64, &'a MerchantRegistered)>,
    issued: Vec<(i64, MerchantId, &'a ApiKeyIssued)>,
    revoked: Vec<&'a ApiKeyRevoked>,
    touched: BTreeMap<MerchantId, Touched<'a>>,
}

/// What becomes of a merchant's own row. `None` leaves a column as it is.
struct Touched<'a> {
    webhook_url: Option<Option<&'a str>>,
    status: Option<&'static str>,
    updated_at: Timestamp,
    position: i64,
}

impl<'a> Changes<'a> {
    fn record(&mut self, position: i64, id: MerchantId, event: &'a MerchantEvent) {
        let mut webhook_url = None;
        let mut status = None;
        let at = match event {
            MerchantEvent::MerchantRegistered(registered) => {
                self.registered.push((position, registered));
                registered.at
            }
            MerchantEvent::ApiKeyIssued(issued) => {
                self.issued.push((position, id, issued));
                issued.at
            }
            MerchantEvent::ApiKeyRevoked(revoked) => {
                self.revoked.push(revoked);
                revoked.at
            }
            MerchantEvent::WebhookConfigured(configured) => {
                webhook_url = Some(configured.url.as_deref());
                configured.at
            }
            MerchantEvent::MerchantSuspended(suspended) => {
                status = Some("suspended");
                suspended.at
            }
            MerchantEvent::MerchantReinstated(reinstated) => {
                status = Some("active");
                reinstated.at
            }
            MerchantEvent::MerchantForgotten(forgotten) => {
                webhook_url = Some(None);
                status = Some(FORGOTTEN_STATUS);
                forgotten.at
            }
        };
        let touched = self.touched.entry(id).or_insert(Touched { webhook_url, status, updated_at: at, position });
        touched.webhook_url = webhook_url.or(touched.webhook_url);
        touched.status = status.or(touched.status);
        touched.updated_at = at;
        touched.position = position;
    }
}

async fn insert_merchants(
    connection: &mut PgConnection,
    registered: &[(i64, &MerchantRegistered)],
    profiles: &dyn Profiles,
) -> Result<(), ApplyError> {
    let (mut ids, mut names, mut emails) = (Vec::new(), Vec::new(), Vec::new());
    let (mut references, mut times, mut positions) = (Vec::new(), Vec::new(), Vec::new());
    for (position, event) in registered {
        let (name, email) = match open(profiles, *position, event).await? {
            Some(profile) => (profile.name, Some(profile.email)),
            None => (FORGOTTEN.to_owned(), None),
        };
        ids.push(event.merchant_id.as_uuid());
        names.push(storable(&name).into_owned());
        emails.push(email.map(|email| storable(&email).into_owned()));
        references.push(event.profile.as_uuid());
        times.push(event.at);
        positions.push(*position);
    }
    sqlx::query(
        "INSERT INTO merchants (id, name, email, profile, created_at, updated_at, position)
         SELECT id, name, email, profile, at, at, position
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::timestamptz[], $6::bigint[])
         AS registered (id, name, email, profile, at, position)",
    )
    .bind(ids)
    .bind(names)
    .bind(emails)
    .bind(references)
    .bind(times)
    .bind(positions)
    .execute(connection)
    .await?;
    Ok(())
}

async fn open(
    profiles: &dyn Profiles,
    position: i64,
    event: &MerchantRegistered,
) -> Result<Option<Profile>, ApplyError> {
    profiles.profile(event.profile).await.map_err(|error| match error {
        ProfileError::Unavailable(error) => ApplyError::Database(error),
        ProfileError::Unreadable(source) => ApplyError::poison(position, PoisonError::Profile(source)),
    })
}

async fn insert_keys(
    connection: &mut PgConnection,
    issued: &[(i64, MerchantId, &ApiKeyIssued)],
) -> Result<(), sqlx::Error> {
    let column = |value: fn(&ApiKeyIssued) -> Uuid| issued.iter().map(|(_, _, key)| value(key)).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO merchant_api_keys (id, merchant_id, prefix, secret, issued_at, position)
         SELECT id, merchant_id, prefix, secret, issued_at, position
         FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::timestamptz[], $6::bigint[])
         AS issued (id, merchant_id, prefix, secret, issued_at, position)",
    )
    .bind(column(|key| key.key_id.as_uuid()))
    .bind(issued.iter().map(|(_, merchant, _)| merchant.as_uuid()).collect::<Vec<_>>())
    .bind(issued.iter().map(|(_, _, key)| storable(&key.prefix)).collect::<Vec<_>>())
    .bind(column(|key| key.secret.as_uuid()))
    .bind(issued.iter().map(|(_, _, key)| key.at).collect::<Vec<_>>())
    .bind(issued.iter().map(|(position, _, _)| *position).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn revoke_keys(connection: &mut PgConnection, revoked: &[&ApiKeyRevoked]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE merchant_api_keys
         SET revoked_at = COALESCE(merchant_api_keys.revoked_at, revoked.at)
         FROM unnest($1::uuid[], $2::timestamptz[]) AS revoked (id, at)
         WHERE merchant_api_keys.id = revoked.id",
    )
    .bind(revoked.iter().map(|key| key.key_id.as_uuid()).collect::<Vec<_>>())
    .bind(revoked.iter().map(|key| key.at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Runs after the keys are written, and shows the newest that is not revoked.
async fn update_merchants(
    connection: &mut PgConnection,
    touched: &BTreeMap<MerchantId, Touched<'_>>,
) -> Result<u64, sqlx::Error> {
    let statement = "
        UPDATE merchants
        SET name        = CASE WHEN touched.status = $7 THEN $8 ELSE merchants.name END,
            email       = CASE WHEN touched.status = $7 THEN NULL ELSE merchants.email END,
            webhook_url = CASE WHEN touched.sets_webhook THEN touched.webhook_url ELSE merchants.webhook_url END,
            status      = COALESCE(touched.status, merchants.status),
            api_key     = newest.prefix,
            api_secret  = newest.secret,
            updated_at  = touched.updated_at,
            position    = touched.position
        FROM unnest($1::uuid[], $2::boolean[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[])
            AS touched (id, sets_webhook, webhook_url, status, updated_at, position)
        LEFT JOIN LATERAL (
            SELECT prefix, secret
            FROM merchant_api_keys
            WHERE merchant_id = touched.id AND revoked_at IS NULL
            ORDER BY position DESC
            LIMIT 1
        ) AS newest ON true
        WHERE merchants.id = touched.id";
    let rows = || touched.values();
    let done = sqlx::query(statement)
        .bind(touched.keys().map(MerchantId::as_uuid).collect::<Vec<_>>())
        .bind(rows().map(|row| row.webhook_url.is_some()).collect::<Vec<_>>())
        .bind(rows().map(|row| row.webhook_url.flatten().map(storable)).collect::<Vec<_>>())
        .bind(rows().map(|row| row.status).collect::<Vec<_>>())
        .bind(rows().map(|row| row.updated_at).collect::<Vec<_>>())
        .bind(rows().map(|row| row.position).collect::<Vec<_>>())
        .bind(FORGOTTEN_STATUS)
        .bind(FORGOTTEN)
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}
