//! A rebuild beside live readers and a live follower.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use tokio::sync::Notify;
use uuid::Uuid;
use wopay_domain::PaymentId;
use wopay_domain::payment::PaymentCommand;
use wopay_projections::payments::{self, PaymentFilter};
use wopay_projections::{Progress, ReadModel, RebuildError, Stage, rebuild};
use wopay_testkit::eventually;

use crate::support::{NoProfiles, TestLedger, at, create, index_names, merchant_id, project_once, settle, snapshot};

fn open(ledger: &mut TestLedger, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let id = PaymentId::from_uuid(Uuid::from_u128(u128::from(number)));
        let create = create(id, merchant_id(0), &format!("order {number}"), 1_000_000, at(number));
        ledger.book.payment(id, PaymentCommand::Create(Box::new(create))).unwrap();
        if number % 10 == 0 {
            settle(&mut ledger.book, id, number, 1_000_000);
        }
    }
}

#[tokio::test]
async fn names_of_indexes_and_grants_stay() {
    let mut ledger = TestLedger::new().await;
    open(&mut ledger, 0..20);
    ledger.project().await;
    let role = format!("reports_{}", Uuid::now_v7().simple());
    for statement in [format!("CREATE ROLE {role}"), format!("GRANT SELECT ON payments TO {role}")] {
        sqlx::query(&statement).execute(&ledger.pool).await.unwrap();
    }
    let before = index_names(&ledger.pool).await;
    let rebuilt = rebuild(&ledger.pool, &NoProfiles, None, |_| {}).await.unwrap();
    assert_eq!(rebuilt.models, ReadModel::ALL);
    assert_eq!(index_names(&ledger.pool).await, before);
    assert!(before.iter().any(|index| index.contains("idx_payments_status ")), "{before:?}");
    let granted: bool = sqlx::query_scalar("SELECT has_table_privilege($1, 'payments', 'SELECT')")
        .bind(&role)
        .fetch_one(&ledger.pool)
        .await
        .unwrap();
    assert!(granted);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%rebuild%'")
        .fetch_one(&ledger.pool)
        .await
        .unwrap();
    assert_eq!(left, 0);
    // Statements that were prepared on the old tables go on with the new ones.
    open(&mut ledger, 20..40);
    ledger.project().await;
    rebuild(&ledger.pool, &NoProfiles, Some("payments"), |_| {}).await.unwrap();
    assert_eq!(index_names(&ledger.pool).await, before);
}

#[tokio::test]
async fn damage_is_mended_and_leftovers_are_cleared() {
    let mut ledger = TestLedger::new().await;
    open(&mut ledger, 0..20);
    ledger.project().await;
    let rows = snapshot(&ledger.pool).await;
    for statement in [
        "UPDATE payments SET status = 'completed'",
        "DELETE FROM ledger_postings",
        // What a rebuild that was killed leaves behind.
        "CREATE SCHEMA public_rebuild",
        "CREATE TABLE public_rebuild.payments (LIKE payments)",
    ] {
        sqlx::query(statement).execute(&ledger.pool).await.unwrap();
    }
    assert_ne!(snapshot(&ledger.pool).await, rows);
    rebuild(&ledger.pool, &NoProfiles, None, |_| {}).await.unwrap();
    assert_eq!(snapshot(&ledger.pool).await, rows);
}

#[tokio::test]
async fn a_rebuild_that_fails_changes_nothing() {
    let mut ledger = TestLedger::new().await;
    open(&mut ledger, 0..20);
    ledger.project().await;
    let unknown = rebuild(&ledger.pool, &NoProfiles, Some("unicorns"), |_| {}).await;
    assert!(matches!(unknown, Err(RebuildError::UnknownModel(_))));
    let rows = snapshot(&ledger.pool).await;
    // Somebody with the owner's rights; nobody else can.
    sqlx::query("ALTER TABLE events DISABLE TRIGGER ALL").execute(&ledger.pool).await.unwrap();
    sqlx::query("UPDATE events SET payload = '{}' WHERE position = 7").execute(&ledger.pool).await.unwrap();
    let poisoned = rebuild(&ledger.pool, &NoProfiles, None, |_| {}).await;
    assert!(matches!(poisoned, Err(RebuildError::Poison { position: 7, .. })), "{poisoned:?}");
    assert_eq!(snapshot(&ledger.pool).await, rows);
    sqlx::query("DELETE FROM events WHERE position >= 7").execute(&ledger.pool).await.unwrap();
    let short = rebuild(&ledger.pool, &NoProfiles, None, |_| {}).await;
    assert!(matches!(short, Err(RebuildError::LedgerTooShort { head: 6, .. })), "{short:?}");
    assert_eq!(snapshot(&ledger.pool).await, rows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_and_the_follower_go_on_during_a_rebuild() {
    let mut ledger = TestLedger::new().await;
    open(&mut ledger, 0..12_000);
    ledger.project().await;
    // Enough to be applied while the rebuild runs, in small batches.
    open(&mut ledger, 12_000..13_000);
    ledger.write().await;

    let done = AtomicBool::new(false);
    let reads = AtomicI64::new(0);
    let follow = async {
        let handler = ledger.handler();
        while project_once(&ledger.pool, &handler, 20).await.unwrap() {}
    };
    let read = async {
        let mut last = 12_000;
        while !done.load(Ordering::Acquire) {
            let count: i64 = sqlx::query_scalar("SELECT count(*) FROM payments").fetch_one(&ledger.pool).await.unwrap();
            assert!(count >= last, "{count} payments after {last}");
            last = count;
            let all = PaymentFilter::default();
            let page = payments::list(&ledger.pool, merchant_id(0), &all, None, 10).await.unwrap();
            assert_eq!(page.items.len(), 10);
            reads.fetch_add(1, Ordering::Relaxed);
        }
    };
    let remake = async {
        let rebuilt = rebuild(&ledger.pool, &NoProfiles, None, |_| {}).await.unwrap();
        done.store(true, Ordering::Release);
        rebuilt
    };
    let ((), (), rebuilt) = tokio::join!(follow, read, remake);
    assert!(rebuilt.position >= 12_000);
    assert!(reads.load(Ordering::Relaxed) > 0);

    let rows = snapshot(&ledger.pool).await;
    rebuild(&ledger.pool, &NoProfiles, None, |_| {}).await.unwrap();
    assert!(snapshot(&ledger.pool).await == rows, "rows differ after the second rebuild");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_is_cut_off_leaves_the_live_tables() {
    let mut ledger = TestLedger::new().await;
    open(&mut ledger, 0..12_000);
    ledger.project().await;
    let rows = snapshot(&ledger.pool).await;
    for stage in [Stage::Applying, Stage::Indexing, Stage::Switching] {
        let reached = Notify::new();
        let progress = |progress: Progress| {
            if progress.stage == stage {
                reached.notify_one();
            }
        };
        tokio::select! {
            biased;
            // Whoever is cut off here leaves connections in the middle of a statement.
            () = reached.notified() => {}
            _ = rebuild(&ledger.pool, &NoProfiles, None, progress) => panic!("nobody cut it off"),
        }
        assert!(snapshot(&ledger.pool).await == rows, "cut off while {}", stage.as_str());
    }
    eventually("the connections that were cut off to be gone", Duration::from_secs(30), async || {
        match rebuild(&ledger.pool, &NoProfiles, None, |_| {}).await {
            Err(RebuildError::Running) => None,
            done => Some(done.unwrap()),
        }
    })
    .await;
    assert!(snapshot(&ledger.pool).await == rows);
}

/// The gateway's role owns nothing: what a rebuild swaps in is the owner's, and the gateway's role goes on writing it.
#[tokio::test]
async fn another_role_keeps_its_rights() {
    let mut ledger = TestLedger::new().await;
    open(&mut ledger, 0..20);
    ledger.project().await;
    let name = Uuid::now_v7().simple().to_string();
    let (owner, gateway) = (format!("owner_{name}"), format!("gateway_{name}"));
    let database: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&ledger.pool).await.unwrap();
    let mut statements = vec![
        format!("CREATE ROLE {owner}"),
        format!("CREATE ROLE {gateway}"),
        format!("GRANT CREATE ON DATABASE {database} TO {owner}"),
        format!("GRANT CREATE ON SCHEMA public TO {owner}"),
        format!("GRANT SELECT (order_id), UPDATE (status) ON payments TO {gateway}"),
        format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {owner}"),
        format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {gateway}"),
    ];
    for table in ReadModel::ALL.into_iter().flat_map(|model| model.tables()) {
        statements.push(format!("ALTER TABLE {table} OWNER TO {owner}"));
        statements.push(format!("GRANT INSERT, UPDATE, DELETE ON {table} TO {gateway}"));
    }
    for statement in statements {
        sqlx::query(&statement).execute(&ledger.pool).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let before = rights(&ledger.pool).await;
    let connect = |role: &str| {
        let options = (*ledger.pool.connect_options()).clone().options([("role", role)]);
        PgPoolOptions::new().max_connections(2).connect_with(options)
    };
    // By the owner, by the gateway, which may not, and by a superuser, who hands it back to the owner.
    let by_owner = connect(&owner).await.unwrap();
    rebuild(&by_owner, &NoProfiles, None, |_| {}).await.unwrap();
    assert_eq!(rights(&ledger.pool).await, before);
    let by_gateway = rebuild(&connect(&gateway).await.unwrap(), &NoProfiles, None, |_| {}).await;
    assert!(by_gateway.is_err_and(|error| error.is_not_allowed()));
    rebuild(&ledger.pool, &NoProfiles, None, |_| {}).await.unwrap();
    assert_eq!(rights(&ledger.pool).await, before);
}

/// Owner and rights of every table, and those on columns.
async fn rights(pool: &sqlx::PgPool) -> Vec<String> {
    let tables: Vec<&str> = ReadModel::ALL.into_iter().flat_map(|model| model.tables()).copied().collect();
    sqlx::query_scalar(
        "SELECT concat_ws(' ', class.relname, class.relowner::regrole, privilege.item)
         FROM pg_class AS class
         CROSS JOIN LATERAL (
             SELECT unnest(class.relacl)::text
             UNION ALL
             SELECT attribute.attname || unnest(attribute.attacl)::text
             FROM pg_attribute AS attribute
             WHERE attribute.attrelid = class.oid
         ) AS privilege (item)
         WHERE class.relname = ANY ($1) AND class.relnamespace = 'public'::regnamespace
         ORDER BY 1",
    )
    .bind(tables)
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_rebuild_is_refused() {
    let mut ledger = TestLedger::new().await;
    open(&mut ledger, 0..20);
    ledger.project().await;
    let mut holder = ledger.pool.acquire().await.unwrap();
    sqlx::query(
        "SELECT pg_advisory_lock(hashtextextended('wopay projections rebuild ' || quote_ident(current_schema()), 0))",
    )
    .execute(&mut *holder)
    .await
    .unwrap();
    let second = rebuild(&ledger.pool, &NoProfiles, None, |_| {}).await;
    assert!(matches!(second, Err(RebuildError::Running)));
}
