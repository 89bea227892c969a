//! The answer to a commit gets lost: the commit stands, and its callers are told so, with their true positions.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wopay_commands::{Created, Ledger};
use wopay_domain::PaymentId;
use wopay_domain::payment::PaymentCommand;
use wopay_testkit::{TestDatabase, eventually};

use crate::support::{assert_whole, count, create, ledger, merchant_id, metadata, seen};

/// Passes bytes to and from Postgres, and now and then swallows an answer and cuts the connection.
struct Proxy {
    port: u16,
    /// Answers until the cut; nothing is cut at 0.
    armed: Arc<AtomicU32>,
    cuts: Arc<AtomicU32>,
}

impl Proxy {
    async fn start(database: &TestDatabase) -> Self {
        let server = PgConnectOptions::from_str(&database.url).unwrap();
        let server = (server.get_host().to_owned(), server.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (armed, cuts) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let proxy = Self { port, armed: Arc::clone(&armed), cuts: Arc::clone(&cuts) };
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(server.clone()).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&armed), Arc::clone(&cuts)));
            }
        });
        proxy
    }

    /// Cuts the answer after `skipped` more.
    fn arm(&self, skipped: u32) {
        self.armed.store(skipped + 1, Ordering::SeqCst);
    }

    /// Cuts the next answer, which Postgres sends when it has committed.
    async fn cut(&self) {
        let before = self.cuts.load(Ordering::SeqCst);
        self.arm(0);
        eventually("an answer to cut", Duration::from_secs(20), async || {
            (self.cuts.load(Ordering::SeqCst) > before).then_some(())
        })
        .await;
    }

    /// A pool for the ledger alone.
    async fn pool(&self, database: &TestDatabase) -> PgPool {
        let options = PgConnectOptions::from_str(&database.url)
            .unwrap()
            .ssl_mode(PgSslMode::Disable)
            .host("127.0.0.1")
            .port(self.port);
        PgPoolOptions::new().max_connections(2).test_before_acquire(false).connect_with(options).await.unwrap()
    }
}

async fn pass(client: TcpStream, server: TcpStream, armed: Arc<AtomicU32>, cuts: Arc<AtomicU32>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async move {
        drop(tokio::io::copy(&mut from_client, &mut to_server).await);
    };
    let answers = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            let countdown = armed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |answers| answers.checked_sub(1));
            if countdown == Ok(1) {
                cuts.fetch_add(1, Ordering::SeqCst);
                return;
            }
            if to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    // Whichever side ends first takes the other with it.
    tokio::select! {
        () = requests => {}
        () = answers => {}
    }
}

/// Payments and the positions they are said to have.
async fn open_until(ledger: Ledger, stop: Arc<AtomicBool>, told: Arc<AtomicU32>) -> Vec<(PaymentId, i64)> {
    let merchant = merchant_id();
    let mut opened = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let wanted = create(merchant, &opened.len().to_string());
        match ledger.create_payment(wanted, &metadata(), None).await.unwrap() {
            Created::New { position, payment } => opened.push((payment.id, position)),
            Created::Existing { .. } => panic!("an order of its own"),
        }
        told.fetch_add(1, Ordering::Relaxed);
    }
    opened
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commits_whose_answers_are_lost_are_recognized() {
    let database = wopay_testkit::database().await;
    let proxy = Proxy::start(&database).await;
    let unlucky = ledger(&proxy.pool(&database).await);
    let rival = ledger(&database.pool);
    let stop = Arc::new(AtomicBool::new(false));
    let (told_unlucky, told_rival) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let (ledger, told) = if writer % 4 == 0 { (&rival, &told_rival) } else { (&unlucky, &told_unlucky) };
            tokio::spawn(open_until(ledger.clone(), Arc::clone(&stop), Arc::clone(told)))
        })
        .collect();
    for _ in 0..30 {
        let before = told_unlucky.load(Ordering::Relaxed);
        eventually("the unlucky go on", Duration::from_secs(20), async || {
            (told_unlucky.load(Ordering::Relaxed) > before + 20).then_some(())
        })
        .await;
        proxy.cut().await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut opened = Vec::new();
    for writer in writers {
        opened.extend(writer.await.unwrap());
    }
    let head = count(&database.pool, "SELECT position FROM ledger_head").await;
    assert_eq!(i64::try_from(opened.len()).unwrap(), head, "each acknowledged, each once");
    for (id, position) in opened {
        let at: String = sqlx::query_scalar("SELECT aggregate_id FROM events WHERE position = $1")
            .bind(position)
            .fetch_one(&database.pool)
            .await
            .unwrap();
        assert_eq!(at, id.to_string(), "the position that the caller was told");
    }
    assert_whole(&database.pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_several_events_is_recognized_as_a_whole() {
    let database = wopay_testkit::database().await;
    let proxy = Proxy::start(&database).await;
    let ledger = ledger(&proxy.pool(&database).await);
    let wanted = create(merchant_id(), "1");
    let id = wanted.payment_id;
    ledger.create_payment(wanted, &metadata(), None).await.unwrap();
    // The first answer is that to the read of the stream, so two of three cuts fall into an append.
    for (transaction, sequence, skipped) in [(1, 3, 0), (2, 5, 1), (3, 7, 1)] {
        let deposit = || PaymentCommand::ObserveDeposit(Box::new(seen(transaction, transaction, 10)));
        let before = proxy.cuts.load(Ordering::SeqCst);
        proxy.arm(skipped);
        let executed = match ledger.execute_payment(id, deposit(), &metadata()).await {
            Ok(executed) => executed,
            Err(error) => {
                assert!(error.is_transient(), "{error:?}");
                ledger.execute_payment(id, deposit(), &metadata()).await.unwrap()
            }
        };
        assert_eq!(proxy.cuts.load(Ordering::SeqCst), before + 1);
        assert_eq!(executed.sequence, sequence);
    }
    assert_eq!(count(&database.pool, "SELECT position FROM ledger_head").await, 7);
    assert_whole(&database.pool).await;
}
