//! A ledger of a test's own, with a sealer and hands that should not be on it.

use std::path::PathBuf;

use sqlx::{Executor, PgPool};
use wopay_audit::{
    AuditKey, Finding, PublicKey, SealError, Sealed, Sealer, SealerOptions, VerifyOptions, VerifyReport, verify,
};
use wopay_eventbus::AppendSignal;
use wopay_testkit::{TestDatabase, database};

pub(crate) const ORIGIN: &str = "wopay.test/main";

pub(crate) struct World {
    pub(crate) database: TestDatabase,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) key: AuditKey,
}

impl World {
    pub(crate) async fn new() -> Self {
        let key = AuditKey::from_seed(&[7; 32], ORIGIN).unwrap();
        Self { database: database().await, folder: tempfile::tempdir().unwrap(), key }
    }

    /// With so many events, sealed at each of these sizes.
    pub(crate) async fn sealed_at(sizes: &[i64]) -> Self {
        let world = Self::new().await;
        let mut size = 0;
        for next in sizes {
            world.append(next - size).await;
            world.seal().await;
            size = *next;
        }
        world
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    pub(crate) fn public(&self) -> PublicKey {
        self.key.public().clone()
    }

    pub(crate) fn checkpoint_file(&self) -> PathBuf {
        self.folder.path().join("audit/checkpoint")
    }

    pub(crate) fn sealer(&self, signal: &AppendSignal) -> Sealer {
        self.sealer_with(self.key.clone(), signal)
    }

    pub(crate) fn sealer_with(&self, key: AuditKey, signal: &AppendSignal) -> Sealer {
        let options = SealerOptions { ledger: "main".to_owned(), checkpoint_file: self.checkpoint_file() };
        Sealer::new(self.pool().clone(), key, options, signal.clone())
    }

    pub(crate) async fn try_seal(&self) -> Result<Sealed, SealError> {
        self.sealer(&AppendSignal::new()).seal_now().await
    }

    pub(crate) async fn seal(&self) {
        self.try_seal().await.unwrap();
    }

    /// Appends as the write side does: the head's row lock first. Every third event goes on with an older stream.
    pub(crate) async fn append(&self, count: i64) -> i64 {
        append(self.pool(), count).await
    }

    pub(crate) async fn verify(&self) -> VerifyReport {
        self.verify_with(VerifyOptions::default()).await
    }

    pub(crate) async fn verify_with(&self, options: VerifyOptions) -> VerifyReport {
        let options =
            VerifyOptions { keys: vec![self.public()], checkpoint_file: Some(self.checkpoint_file()), ..options };
        let mut last = 0;
        let report = verify(self.pool(), &options, |progress| {
            assert!(progress.position >= last && progress.position <= progress.target);
            last = progress.position;
        });
        report.await.unwrap()
    }

    /// Does what no trigger and no constraint allows.
    pub(crate) async fn tamper(&self, statements: &[&str]) {
        let mut tx = self.pool().begin().await.unwrap();
        tx.execute("SET LOCAL session_replication_role = replica").await.unwrap();
        for statement in statements {
            let done = tx.execute(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
            assert!(done.rows_affected() > 0, "{statement} did nothing");
        }
        tx.commit().await.unwrap();
    }

    pub(crate) async fn note(&self, size: i64) -> String {
        sqlx::query_scalar("SELECT note FROM audit_checkpoints WHERE size = $1")
            .bind(size)
            .fetch_one(self.pool())
            .await
            .unwrap()
    }
}

pub(crate) async fn append(pool: &PgPool, count: i64) -> i64 {
    let mut tx = pool.begin().await.unwrap();
    let head: i64 = sqlx::query_scalar("UPDATE ledger_head SET position = position + $1 RETURNING position")
        .bind(count)
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         SELECT position, 'payment', 'p' || (position + 2) / 3, (position + 2) % 3 + 1, 'PaymentCreated', '1.0',
                json_build_object('token', gen_random_uuid(), 'amount', position::text),
                json_build_object('actor', 'operator')
         FROM generate_series($1::bigint, $2::bigint) AS position",
    )
    .bind(head - count + 1)
    .bind(head)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    head
}

/// What was found, one line each.
pub(crate) fn texts(report: &VerifyReport) -> Vec<String> {
    report.findings.iter().map(Finding::to_string).collect()
}
