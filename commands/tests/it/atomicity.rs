//! A process killed at any moment leaves whole appends only.

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;
use wopay_commands::{Claim, Ledger};
use wopay_domain::merchant::{Merchant, MerchantEvent, MerchantSuspended};
use wopay_testkit::eventually;

use crate::support::{assert_whole, count, ledger, now};

const CHILD: &str = "atomicity::child_that_writes_until_it_is_killed";
const URL: &str = "WOPAY_TEST_CHILD_DATABASE_URL";
const KILLS: i64 = 12;
const WRITERS: usize = 24;

/// Appends of 1 to 9 events and two claims; each event says how many there are.
async fn write_for_ever(ledger: Ledger, writer: usize) {
    for round in 0.. {
        let size = (writer + round) % 9 + 1;
        let id = Uuid::now_v7().to_string();
        let event = MerchantEvent::MerchantSuspended(MerchantSuspended { reason: size.to_string(), at: now() });
        let claims = vec![Claim::merchant_email(&format!("{id}/1")), Claim::merchant_email(&format!("{id}/2"))];
        let events = vec![event; size];
        ledger.store().append::<Merchant>(&id, 0, &events, &HashMap::new(), claims).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of the test below"]
async fn child_that_writes_until_it_is_killed() {
    let Ok(url) = std::env::var(URL) else { return };
    let pool = PgPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
    let ledger = ledger(&pool);
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write_for_ever(ledger.clone(), writer))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

struct Writer(Child);

impl Writer {
    fn start(url: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", CHILD, "--ignored"]).env(URL, url);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

/// Also when the test fails.
impl Drop for Writer {
    fn drop(&mut self) {
        // SIGKILL; it may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn wait_until_backends_are_gone(pool: &PgPool) {
    let working = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'wopay-committer'";
    eventually("the killed process' backend ends", Duration::from_secs(20), async || {
        (count(pool, working).await == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_at_any_moment_leaves_whole_appends_only() {
    let database = wopay_testkit::database().await;
    let pool = &database.pool;
    for kill in 0..KILLS {
        let before = count(pool, "SELECT position FROM ledger_head").await;
        let writer = Writer::start(&database.url);
        // A different amount of work each time, so that the kill falls into different moments of a commit.
        let wanted = before + 100 + kill * 137;
        eventually("the child writes", Duration::from_secs(30), async || {
            (count(pool, "SELECT position FROM ledger_head").await > wanted).then_some(())
        })
        .await;
        drop(writer);
        wait_until_backends_are_gone(pool).await;
        assert_appends_are_whole(pool).await;
        assert_whole(pool).await;
    }
}

async fn assert_appends_are_whole(pool: &PgPool) {
    let torn = "SELECT count(*) FROM (
        SELECT aggregate_id FROM events GROUP BY aggregate_id
        HAVING count(*) <> (max(payload #>> '{MerchantSuspended,reason}'))::bigint) AS torn";
    assert_eq!(count(pool, torn).await, 0, "appends with some of their events");
    let streams = count(pool, "SELECT count(DISTINCT aggregate_id) FROM events").await;
    let claims =
        "SELECT count(*) FROM claims c WHERE EXISTS (SELECT FROM events e WHERE e.aggregate_id = c.aggregate_id)";
    assert_eq!(count(pool, claims).await, 2 * streams, "claims of what was appended");
    assert_eq!(count(pool, "SELECT count(*) FROM claims").await, 2 * streams, "claims of what was not appended");
}
