//! The streams: how they are made, and made again.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};

use crate::bus::Bus;
use crate::error::BusError;
use crate::subjects;

/// Announcements are for those who follow closely; who is further behind reads Postgres.
const EVENTS_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const EVENTS_BYTES_MAX: i64 = 512 * 1024 * 1024;
const COMMANDS_BYTES_MAX: i64 = 256 * 1024 * 1024;
const EVENTS_DEDUPLICATED_FOR: Duration = Duration::from_secs(2 * 60);
const COMMANDS_DEDUPLICATED_FOR: Duration = Duration::from_secs(10 * 60);

impl Bus {
    /// The ledger's event stream with its present state; created when it is missing.
    pub(crate) async fn ensure_events(&self) -> Result<Stream, BusError> {
        self.ensure(events_config(self.ledger())).await
    }

    /// The command stream; created when it is missing.
    pub(crate) async fn ensure_commands(&self) -> Result<Stream, BusError> {
        self.ensure(commands_config()).await
    }

    /// Limits and replicas of a stream that exists are the operator's; only its subjects are put right.
    async fn ensure(&self, config: Config) -> Result<Stream, BusError> {
        let (name, subjects) = (config.name.clone(), config.subjects.clone());
        let jetstream = self.jetstream();
        let stream = jetstream.get_or_create_stream(config).await.map_err(BusError::request("create a stream"))?;
        let found = &stream.cached_info().config;
        if found.subjects == subjects {
            return Ok(stream);
        }
        let corrected = Config { subjects, ..found.clone() };
        jetstream.update_stream(corrected).await.map_err(BusError::request("update a stream"))?;
        jetstream.get_stream(name).await.map_err(BusError::request("find a stream"))
    }
}

fn events_config(ledger: &str) -> Config {
    Config {
        name: subjects::events_stream(ledger),
        description: Some(format!("Committed events of the WoPay ledger {ledger}, in order of position")),
        subjects: vec![subjects::all_events(ledger)],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        max_age: EVENTS_AGE_MAX,
        max_bytes: EVENTS_BYTES_MAX,
        duplicate_window: EVENTS_DEDUPLICATED_FOR,
        num_replicas: 1,
        ..Config::default()
    }
}

fn commands_config() -> Config {
    Config {
        name: subjects::COMMANDS_STREAM.to_owned(),
        description: Some("Commands for the WoPay ledgers".to_owned()),
        subjects: vec![subjects::ALL_COMMANDS.to_owned()],
        retention: RetentionPolicy::WorkQueue,
        // A full queue refuses: its writers keep what they have and try again. Dropping a command would lose it.
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        max_bytes: COMMANDS_BYTES_MAX,
        duplicate_window: COMMANDS_DEDUPLICATED_FOR,
        num_replicas: 1,
        ..Config::default()
    }
}
