//! Deposits on their way from NATS into the ledger.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wopay_commands::{Created, Ledger, inbox};
use wopay_domain::PaymentId;
use wopay_domain::payment::{DepositReport, DepositStage, PaymentStatus};
use wopay_eventbus::{Bus, CommandMessage, ObserveDeposit};
use wopay_testkit::eventually;

use crate::support::{assert_whole, count, create, ledger, merchant_id, metadata, seen};

async fn open(ledger: &Ledger, order: &str) -> PaymentId {
    match ledger.create_payment(create(merchant_id(), order), &metadata(), None).await.unwrap() {
        Created::New { payment, .. } => payment.id,
        Created::Existing { .. } => panic!("new"),
    }
}

fn message(payment_id: PaymentId, report: DepositReport) -> CommandMessage {
    ObserveDeposit { payment_id, report }.to_message().unwrap()
}

async fn publish(bus: &Bus, messages: Vec<CommandMessage>) {
    eventually("the bus takes commands", Duration::from_secs(20), async || {
        let results = bus.publish_commands(messages.clone()).await;
        results.iter().all(Result::is_ok).then_some(())
    })
    .await;
}

async fn wait_until_the_queue_is_empty(nats_url: &str) {
    let jetstream = async_nats::jetstream::new(async_nats::connect(nats_url).await.unwrap());
    let mut stream = jetstream.get_stream("WOPAY_COMMANDS").await.unwrap();
    eventually("every command is taken out of the queue", Duration::from_secs(30), async || {
        (stream.info().await.unwrap().state.messages == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deposits_reach_their_payments_once_whatever_else_is_in_the_queue() {
    let database = wopay_testkit::database().await;
    let nats = wopay_testkit::nats().await;
    let bus = Bus::connect(&nats.url, "main").await.unwrap();
    let ledger = ledger(&database.pool);
    let mut payments = Vec::new();
    for number in 0..20 {
        payments.push(open(&ledger, &number.to_string()).await);
    }
    let mut messages = vec![
        CommandMessage {
            subject_kind: ObserveDeposit::KIND.to_owned(),
            message_id: "garbage".to_owned(),
            body: b"{\"not\": \"a deposit\"".to_vec(),
        },
        CommandMessage {
            subject_kind: "payment.unheard_of".to_owned(),
            message_id: "unheard-of".to_owned(),
            body: b"{}".to_vec(),
        },
        message(PaymentId::from_uuid(Uuid::now_v7()), seen(999, 1, 1)),
    ];
    for (number, payment) in (0..).zip(&payments) {
        let (first, second) = (number * 2 + 1, number * 2 + 2);
        let mut confirmed = seen(first, 5, 60_000_000);
        confirmed.stage = DepositStage::Confirmed { confirmations: 3 };
        let mut rest = seen(second, 6, 40_000_000);
        rest.stage = DepositStage::Confirmed { confirmations: 3 };
        // Newest first: the older report must change nothing.
        messages.extend([
            message(*payment, confirmed),
            message(*payment, seen(first, 4, 60_000_000)),
            message(*payment, rest),
        ]);
    }
    publish(&bus, messages.clone()).await;
    let token = CancellationToken::new();
    let inboxes = [0, 1].map(|_| tokio::spawn(inbox::run(ledger.clone(), bus.clone(), token.clone())));
    wait_until_the_queue_is_empty(&nats.url).await;
    // All of it once more, as after a watcher's crash (under new message ids, as JetStream would drop the same ones).
    for message in &mut messages {
        message.message_id.push_str("/again");
    }
    publish(&bus, messages).await;
    wait_until_the_queue_is_empty(&nats.url).await;
    for payment in payments {
        let (state, _) = ledger.payment(payment).await.unwrap().unwrap();
        assert_eq!((state.status, state.deposits.len()), (PaymentStatus::Completed, 2));
    }
    let confirmed = "SELECT count(*) FROM events WHERE event_type = 'DepositConfirmed'";
    assert_eq!(count(&database.pool, confirmed).await, 40);
    let causes = "SELECT count(*) FROM events WHERE event_type = 'DepositConfirmed'
        AND metadata ->> 'actor' = 'system:watchers/ethereum' AND metadata ->> 'command_id' LIKE 'ethereum:0x%:log:0@%'";
    assert_eq!(count(&database.pool, causes).await, 40);
    token.cancel();
    for inbox in inboxes {
        inbox.await.unwrap();
    }
    assert_whole(&database.pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposit_waits_for_a_database_that_is_away() {
    let database = wopay_testkit::database().await;
    let nats = wopay_testkit::nats().await;
    let bus = Bus::connect(&nats.url, "main").await.unwrap();
    let ledger = ledger(&database.pool);
    let payment = open(&ledger, "1").await;
    let admin = database.extra_pool(1).await;
    sqlx::query("ALTER TABLE events RENAME TO away").execute(&admin).await.unwrap();
    let token = CancellationToken::new();
    let inbox = tokio::spawn(inbox::run(ledger.clone(), bus.clone(), token.clone()));
    publish(&bus, vec![message(payment, seen(1, 1, 1))]).await;
    let jetstream = async_nats::jetstream::new(async_nats::connect(&nats.url).await.unwrap());
    let stream = jetstream.get_stream("WOPAY_COMMANDS").await.unwrap();
    eventually("a second delivery", Duration::from_secs(30), async || {
        let mut names = std::pin::pin!(stream.consumer_names());
        let name = futures::StreamExt::next(&mut names).await?.ok()?;
        let consumer = stream.consumer_info(name).await.ok()?;
        (consumer.num_redelivered > 0).then_some(())
    })
    .await;
    sqlx::query("ALTER TABLE away RENAME TO events").execute(&admin).await.unwrap();
    wait_until_the_queue_is_empty(&nats.url).await;
    let (state, sequence) = ledger.payment(payment).await.unwrap().unwrap();
    assert_eq!((state.status, sequence), (PaymentStatus::PartiallyPaid, 3));
    token.cancel();
    inbox.await.unwrap();
}
