//! Databases and NATS.

use std::time::Duration;

use async_nats::jetstream;
use wopay_testkit::{database, empty_database, eventually, nats, nats_with_password};

#[tokio::test]
async fn each_test_has_a_database_of_its_own() {
    let (one, other) = tokio::join!(database(), database());
    assert_ne!(one.name, other.name);
    sqlx::query("CREATE TABLE only_here (n bigint)").execute(&one.pool).await.unwrap();
    assert!(sqlx::query("SELECT * FROM only_here").execute(&other.pool).await.is_err());
    let name: String =
        sqlx::query_scalar("SELECT current_database()").fetch_one(&one.extra_pool(1).await).await.unwrap();
    assert_eq!(name, one.name);
}

#[tokio::test]
async fn the_database_has_every_migration() {
    let database = database().await;
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations")).unwrap();
    let expected = files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "sql")).count();
    let applied: i64 =
        sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations").fetch_one(&database.pool).await.unwrap();
    assert_eq!(usize::try_from(applied).unwrap(), expected);
    let empty = empty_database().await;
    assert!(sqlx::query("SELECT * FROM _sqlx_migrations").execute(&empty.pool).await.is_err());
}

#[test]
fn the_server_outlives_the_runtime_that_first_asked_for_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = |url: &str| url.rsplit_once('/').unwrap().0.to_owned();
    let first = runtime().block_on(database());
    let second = runtime().block_on(async {
        let second = database().await;
        sqlx::query("SELECT 1").execute(&second.pool).await.unwrap();
        second.url
    });
    assert_eq!(server(&first.url), server(&second));
}

#[tokio::test]
async fn nats_goes_down_and_comes_back_with_its_streams() {
    let mut server = nats().await;
    let client = async_nats::connect(&server.url).await.unwrap();
    let context = jetstream::new(client.clone());
    context.create_stream(config()).await.unwrap();
    context.publish("kept.a", "1".into()).await.unwrap().await.unwrap();

    server.crash().await;
    assert!(async_nats::connect(&server.url).await.is_err());
    server.start_again().await;

    let messages = eventually("the stream is back", Duration::from_secs(20), async || {
        Some(context.get_stream("KEPT").await.ok()?.cached_info().state.messages)
    })
    .await;
    assert_eq!(messages, 1);
    server.stop().await;
    server.start_again().await;
    let client = async_nats::connect(&server.url).await.unwrap();
    assert!(jetstream::new(client).get_stream("KEPT").await.is_ok());
}

#[tokio::test]
async fn a_wiped_nats_comes_back_empty() {
    let mut server = nats().await;
    let client = async_nats::connect(&server.url).await.unwrap();
    jetstream::new(client).create_stream(config()).await.unwrap();
    server.wipe().await;
    server.start_again().await;
    let client = async_nats::connect(&server.url).await.unwrap();
    assert!(jetstream::new(client).get_stream("KEPT").await.is_err());
}

#[tokio::test]
async fn a_paused_nats_answers_nothing_until_it_resumes() {
    let mut server = nats().await;
    let client = async_nats::connect(&server.url).await.unwrap();
    server.pause();
    eventually("a flush that gets no answer", Duration::from_secs(5), async || {
        let rtt = tokio::time::timeout(Duration::from_millis(200), async_nats::connect(&server.url)).await;
        rtt.is_err().then_some(())
    })
    .await;
    server.resume();
    client.flush().await.unwrap();
    async_nats::connect(&server.url).await.unwrap();
}

#[tokio::test]
async fn a_nats_with_password_lets_nobody_in_without() {
    let server = nats_with_password().await;
    let (user, address) = server.url.trim_start_matches("nats://").split_once('@').unwrap();
    let (user, password) = user.split_once(':').unwrap();
    assert!(async_nats::connect(address).await.is_err());
    let options = async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
    assert!(options.connect(address).await.is_ok());
}

fn config() -> jetstream::stream::Config {
    jetstream::stream::Config { name: "KEPT".to_owned(), subjects: vec!["kept.>".to_owned()], ..Default::default() }
}
