//! Streams that an older program wrote, and one that a newer program wrote.

use sqlx::PgPool;
use wopay_commands::{Created, ExecuteError, Ledger, LoadError};
use wopay_domain::PaymentId;
use wopay_domain::payment::{DepositReport, DepositStage, DepositState, PaymentCommand, PaymentStatus};
use wopay_testkit::database;

use crate::support::{create, ledger, merchant_id, metadata, seen};

const MINOR: u128 = 100_000_000;

async fn open(ledger: &Ledger) -> PaymentId {
    let Created::New { payment, .. } =
        ledger.create_payment(create(merchant_id(), "OLD"), &metadata(), None).await.unwrap()
    else {
        panic!("opened before")
    };
    payment.id
}

/// Appends an event as some other program did.
async fn append(pool: &PgPool, id: PaymentId, event_type: &str, version: &str, payload: serde_json::Value) {
    sqlx::query(
        "WITH head AS (UPDATE ledger_head SET position = position + 1 RETURNING position)
         INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         SELECT head.position, 'payment', $1,
                (SELECT count(*) + 1 FROM events WHERE aggregate_id = $1), $2, $3, $4, '{}'
         FROM head",
    )
    .bind(id.to_string())
    .bind(event_type)
    .bind(version)
    .bind(payload)
    .execute(pool)
    .await
    .unwrap();
}

/// A detection as version 1.0 wrote it: it does not say whose it is.
fn detected(report: &DepositReport) -> serde_json::Value {
    serde_json::json!({ "DepositDetected": {
        "deposit": report.deposit, "revision": report.revision, "amount": report.amount, "from": report.from,
        "block": report.block, "disposition": "credit", "at": report.at,
    } })
}

fn confirmed(report: DepositReport) -> PaymentCommand {
    let stage = DepositStage::Confirmed { confirmations: 3 };
    PaymentCommand::ObserveDeposit(Box::new(DepositReport { stage, revision: 2, ..report }))
}

/// Whether the payment is in memory or not: the hot path reads only the tail of the stream, by another statement.
#[tokio::test]
async fn what_an_older_program_wrote_is_understood() {
    let database = database().await;
    for in_memory in [false, true] {
        let first = ledger(&database.pool);
        let id = open(&first).await;
        let report = seen(u64::from(in_memory), 1, MINOR);
        let ledger = if in_memory { first } else { ledger(&database.pool) };
        if in_memory {
            let early = PaymentCommand::Cancel { at: report.at };
            ledger.execute_payment(id, early, &metadata()).await.unwrap();
        }
        append(&database.pool, id, "DepositDetected", "1.0", detected(&report)).await;
        let (payment, _) = ledger.payment(id).await.unwrap().unwrap();
        let deposit = payment.deposits.values().next().unwrap();
        assert_eq!((deposit.state, deposit.books_pending), (DepositState::Seen, false));

        let done = ledger.execute_payment(id, confirmed(report), &metadata()).await.unwrap();
        if !in_memory {
            assert_eq!(done.state.status, PaymentStatus::Completed);
        }
        let released: Vec<(String, bool)> = sqlx::query_as(
            "SELECT event_version, (payload #>> '{DepositConfirmed,releases_pending}')::boolean
             FROM events WHERE aggregate_id = $1 AND event_type = 'DepositConfirmed'",
        )
        .bind(id.to_string())
        .fetch_all(&database.pool)
        .await
        .unwrap();
        assert_eq!(released, [("1.2".to_owned(), false)]);
    }
}

#[tokio::test]
async fn what_a_newer_program_wrote_is_refused_not_guessed() {
    let database = database().await;
    let ledger = ledger(&database.pool);
    let id = open(&ledger).await;
    let report = seen(1, 1, MINOR);
    append(&database.pool, id, "DepositDetected", "9.0", detected(&report)).await;
    let Err(LoadError::Corrupt(source)) = ledger.payment(id).await else { panic!("it was read") };
    assert!(source.to_string().contains("DepositDetected v9.0 is unknown"), "{source}");
    let refused = ledger.execute_payment(id, confirmed(report), &metadata()).await;
    assert!(matches!(refused, Err(ExecuteError::Load(LoadError::Corrupt(_)))), "{refused:?}");
}
