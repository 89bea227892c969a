//! One Postgres at a time.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use wopay_private_services::{Durability, PostgresOptions, Service, ServiceError, start_postgres};

use crate::{eventually, folder, search};

pub(crate) async fn put(url: &str, number: i64) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query("CREATE TABLE IF NOT EXISTS kept (n bigint)").execute(&mut connection).await.unwrap();
    sqlx::query("INSERT INTO kept VALUES ($1)").bind(number).execute(&mut connection).await.unwrap();
}

pub(crate) async fn sum(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("SELECT sum(n)::bigint FROM kept").fetch_one(&mut connection).await.unwrap()
}

async fn setting(url: &str, name: &str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_restart_keeps_the_data() {
    let folder = folder();
    let options = PostgresOptions::new(folder.path().join("deep/data"), search());
    let server = start_postgres(options.clone()).await.unwrap();
    put(server.url(), 7).await;
    assert_eq!(setting(server.url(), "fsync").await, "on");
    assert_eq!(setting(server.url(), "server_encoding").await, "UTF8");
    let url = server.url().to_owned();
    server.stop().await.unwrap();
    assert!(PgConnection::connect(&url).await.is_err(), "it is down");

    let server = start_postgres(options).await.unwrap();
    assert_eq!(sum(server.url()).await, 7);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn only_the_password_opens_it_and_a_lost_one_is_replaced() {
    let folder = folder();
    let options = PostgresOptions::new(folder.path(), search());
    let server = start_postgres(options.clone()).await.unwrap();
    put(server.url(), 7).await;
    let wrong = format!("postgres://wopay:wrong@127.0.0.1:{}/wopay", server.port());
    assert!(PgConnection::connect(&wrong).await.is_err());
    let first = server.url().split('@').next().unwrap().to_owned();
    server.stop().await.unwrap();

    std::fs::remove_file(folder.path().join("postgres.password")).unwrap();
    let server = start_postgres(options).await.unwrap();
    assert_ne!(server.url().split('@').next().unwrap(), first);
    assert_eq!(sum(server.url()).await, 7);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_in_use_is_refused_until_it_is_free() {
    let folder = folder();
    let options = PostgresOptions::new(folder.path(), search());
    let server = start_postgres(options.clone()).await.unwrap();
    let error = start_postgres(options.clone()).await.unwrap_err();
    assert!(matches!(error, ServiceError::InUse { service: Service::Postgres, .. }), "{error}");
    // Dropping stops in the background; the next start waits for that.
    drop(server);
    start_postgres(options).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_disposable_server_leaves_nothing() {
    let folder = folder();
    let data_dir = folder.path().join("data");
    let options = PostgresOptions {
        durability: Durability::Disposable,
        max_connections: 33,
        settings: vec![("work_mem".to_owned(), "5MB".to_owned())],
        ..PostgresOptions::new(&data_dir, search())
    };
    let server = start_postgres(options).await.unwrap();
    for (name, value) in [("fsync", "off"), ("max_connections", "33"), ("work_mem", "5MB")] {
        assert_eq!(setting(server.url(), name).await, value);
    }
    drop(server);
    // For root, Postgres' user empties the folder but cannot remove it from ours.
    eventually("the data is removed", || !data_dir.exists() || data_dir.read_dir().unwrap().next().is_none());
}

#[tokio::test]
async fn what_a_server_says_before_it_ends_is_in_the_error() {
    let folder = folder();
    let mut options = PostgresOptions::new(folder.path(), search());
    options.settings.push(("shared_buffers".to_owned(), "plenty".to_owned()));
    let error = start_postgres(options.clone()).await.unwrap_err();
    assert!(matches!(error, ServiceError::Exited { .. }), "{error}");
    assert!(error.to_string().contains("shared_buffers"), "{error}");

    options.settings.clear();
    start_postgres(options).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_stale_pid_file_is_no_obstacle() {
    let folder = folder();
    let options = PostgresOptions::new(folder.path(), search());
    let server = start_postgres(options.clone()).await.unwrap();
    put(server.url(), 7).await;
    let pid_file = folder.path().join("postgres/postmaster.pid");
    let stale = std::fs::read_to_string(&pid_file).unwrap();
    server.stop().await.unwrap();

    // The process id of a living process that is no Postgres: ours.
    let rest = stale.split_once('\n').unwrap().1;
    std::fs::write(&pid_file, format!("{}\n{rest}", std::process::id())).unwrap();
    let server = start_postgres(options).await.unwrap();
    assert_eq!(sum(server.url()).await, 7);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_first_start_that_died_half_way_is_begun_again() {
    let folder = folder();
    let unfinished = folder.path().join("postgres.unfinished");
    std::fs::create_dir(&unfinished).unwrap();
    std::fs::write(unfinished.join("PG_VERSION"), "15\n").unwrap();
    let server = start_postgres(PostgresOptions::new(folder.path(), search())).await.unwrap();
    put(server.url(), 7).await;
    tokio::time::timeout(Duration::from_secs(60), server.stop()).await.unwrap().unwrap();
    assert!(!unfinished.exists());
}
