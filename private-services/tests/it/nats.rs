//! One nats-server at a time.

use std::net::TcpListener;

use async_nats::jetstream;
use wopay_private_services::{NatsOptions, Service, ServiceError, start_nats};

use crate::{eventually, folder, search};

pub(crate) async fn connect(url: &str) -> Result<async_nats::Client, async_nats::ConnectError> {
    let (user, address) = url.trim_start_matches("nats://").split_once('@').unwrap();
    let (user, password) = user.split_once(':').unwrap();
    async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned()).connect(address).await
}

pub(crate) async fn publish(url: &str) {
    let context = jetstream::new(connect(url).await.unwrap());
    let config =
        jetstream::stream::Config { name: "KEPT".to_owned(), subjects: vec!["kept".to_owned()], ..Default::default() };
    context.get_or_create_stream(config).await.unwrap();
    context.publish("kept", "1".into()).await.unwrap().await.unwrap();
}

pub(crate) async fn published(url: &str) -> u64 {
    let context = jetstream::new(connect(url).await.unwrap());
    let stream = context.get_stream("KEPT").await.unwrap();
    stream.cached_info().state.messages
}

#[tokio::test]
async fn a_restart_keeps_streams_and_address() {
    let folder = folder();
    let mut options = NatsOptions::new(folder.path().join("data"), search());
    let server = start_nats(options.clone()).await.unwrap();
    publish(server.url()).await;
    let url = server.url().to_owned();
    options.port = Some(server.port());
    server.stop().await.unwrap();
    assert!(connect(&url).await.is_err(), "it is down");

    let server = start_nats(options.clone()).await.unwrap();
    assert_eq!(server.url(), url);
    publish(&url).await;
    server.kill().await.unwrap();
    let server = start_nats(options).await.unwrap();
    assert_eq!(published(&url).await, 2);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_in_use_is_refused() {
    let folder = folder();
    let options = NatsOptions::new(folder.path(), search());
    let server = start_nats(options.clone()).await.unwrap();
    let error = start_nats(options.clone()).await.unwrap_err();
    assert!(matches!(error, ServiceError::InUse { service: Service::Nats, .. }), "{error}");
    drop(server);
    start_nats(options).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_said() {
    let folder = folder();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut options = NatsOptions::new(folder.path(), search());
    options.port = Some(taken.local_addr().unwrap().port());
    let error = start_nats(options).await.unwrap_err();
    assert!(error.to_string().contains("address already in use"), "{error}");
}

#[tokio::test]
async fn a_disposable_server_leaves_nothing() {
    let folder = folder();
    let mut options = NatsOptions::new(folder.path().join("data"), search());
    options.disposable = true;
    let data_dir = options.data_dir.clone();
    let server = start_nats(options).await.unwrap();
    publish(server.url()).await;
    server.stop().await.unwrap();
    eventually("the data is removed", || !data_dir.exists());
}
