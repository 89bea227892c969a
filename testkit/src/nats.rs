//! A nats-server for each test, which can go down, lose its streams, and come back at the same address.

use std::time::Duration;

use tempfile::TempDir;
use wopay_private_services::{NatsOptions, PrivateNats, Signal, SyncInterval, start_nats};

use crate::tools::binary_search;

/// A test's own nats-server with JetStream.
#[derive(Debug)]
pub struct TestNats {
    /// The address, the same for the life of this value.
    pub url: String,
    options: NatsOptions,
    /// `None` while it is down.
    server: Option<PrivateNats>,
    _dir: TempDir,
}

/// Starts a nats-server with an empty JetStream that lets everybody in.
pub async fn nats() -> TestNats {
    launch(false).await
}

/// Starts a nats-server as the application runs it: [`TestNats::url`] carries a user and a password, and nobody gets in
/// without.
pub async fn nats_with_password() -> TestNats {
    launch(true).await
}

async fn launch(password: bool) -> TestNats {
    let dir = tempfile::Builder::new().prefix("wopay-test-nats-").tempdir().unwrap();
    let mut options = NatsOptions::new(dir.path(), binary_search());
    options.password = password;
    options.sync_interval = SyncInterval::Every(Duration::from_secs(120));
    let server = start(&options).await;
    options.port = Some(server.port());
    TestNats { url: server.url().to_owned(), options, server: Some(server), _dir: dir }
}

impl TestNats {
    /// Stops it cleanly; clients lose their connections. Does nothing when it is down.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await.unwrap();
        }
    }

    /// Kills it as a crash would. Does nothing when it is down.
    pub async fn crash(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill().await.unwrap();
        }
    }

    /// Starts it again with the same port, password and store.
    pub async fn start_again(&mut self) {
        assert!(self.server.is_none(), "the nats-server is running");
        self.server = Some(start(&self.options).await);
    }

    /// Stops it and deletes every stream and consumer it had; [`start_again`](Self::start_again) brings it back empty.
    pub async fn wipe(&mut self) {
        self.stop().await;
        std::fs::remove_dir_all(self.options.data_dir.join("nats")).unwrap();
    }

    /// Lets it hang: connections stay open and nothing answers.
    pub fn pause(&mut self) {
        self.server.as_mut().expect("the nats-server is running").signal(Signal::Stop).unwrap();
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&mut self) {
        self.server.as_mut().expect("the nats-server is running").signal(Signal::Continue).unwrap();
    }
}

impl Drop for TestNats {
    /// Waits until it is gone, or it would write into the folder that is removed next.
    fn drop(&mut self) {
        if let Some(server) = self.server.take()
            && let Err(error) = server.kill_blocking()
        {
            eprintln!("{error}");
        }
    }
}

async fn start(options: &NatsOptions) -> PrivateNats {
    start_nats(options.clone()).await.unwrap_or_else(|error| panic!("no nats-server for tests: {error}"))
}
