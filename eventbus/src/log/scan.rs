//! The log read in bulk: for those who read millions of events, in order of position and in bounded memory.
//!
//! Rows arrive in the binary format of `COPY`, a range of positions at a time, so that no plan sorts the whole log.
//! Reading runs ahead of the reader by a few chunks, in a task of its own: receiving and working overlap.
//!
//! That task is never cut off: a connection of sqlx 0.8 that is dropped in the middle of a copy goes back to its pool and
//! gives the next user the answers of the copy. When nobody listens any more, it reads its range to the end and stops.

use std::ops::Range;

use bytes::{Buf, Bytes};
use futures::StreamExt;
use sqlx::PgPool;
use sqlx::postgres::PgPoolCopyExt;
use tokio::sync::mpsc;

use super::EventRef;

/// Positions read by one statement.
const RANGE_POSITIONS: i64 = 32_768;
/// A chunk is handed over when it holds this many events, or this much text.
const CHUNK_EVENTS_MAX: usize = 4_096;
const CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Chunks that may wait to be worked on.
const CHUNKS_AHEAD: usize = 2;
/// From 1970, where we count from, to 2000, where Postgres does.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The signature that a binary copy begins with, its flags and the length of its extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COLUMNS: i16 = 9;

/// Events `after < position <= upto`, in order of position. `upto` may lie beyond the newest event.
///
/// Each part of the log is read as it is when its turn comes; positions that are missing in the table are passed over,
/// and the reader sees that by the positions it gets. Holds one connection of the pool while it reads.
#[must_use]
pub fn scan(pool: &PgPool, after: i64, upto: i64) -> Scan {
    let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
    let pool = pool.clone();
    tokio::spawn(async move {
        if let Err(error) = read(&pool, after, upto, &sender).await {
            // Nobody waits any more when this fails.
            sender.send(Err(error)).await.ok();
        }
    });
    Scan { chunks }
}

/// A scan under way; ends soon after it is dropped.
#[derive(Debug)]
pub struct Scan {
    chunks: mpsc::Receiver<Result<Chunk, sqlx::Error>>,
}

impl Scan {
    /// The next events; `None` when there are no more. May be cancelled.
    ///
    /// # Errors
    /// The database fails. Nothing comes after that.
    pub async fn next(&mut self) -> Result<Option<Chunk>, sqlx::Error> {
        self.chunks.recv().await.transpose()
    }
}

/// Some consecutive events, at least one: a few thousand, or a few MiB.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The texts of all rows, one after the other.
    text: String,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    position: i64,
    sequence: i64,
    recorded_at_micros: i64,
    /// Where the text of its first column begins, and where that of each column ends.
    start: usize,
    ends: [usize; 6],
}

impl Row {
    fn column(&self, index: usize) -> Range<usize> {
        let start = index.checked_sub(1).map_or(self.start, |before| self.ends[before]);
        start..self.ends[index]
    }
}

impl Chunk {
    /// The events, in order of position.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = EventRef<'_>> + DoubleEndedIterator + '_ {
        self.rows.iter().map(|row| self.event(row))
    }

    /// How many events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Never: there is no chunk without events.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn event(&self, row: &Row) -> EventRef<'_> {
        EventRef {
            position: row.position,
            aggregate_type: &self.text[row.column(0)],
            aggregate_id: &self.text[row.column(1)],
            sequence: row.sequence,
            event_type: &self.text[row.column(2)],
            event_version: &self.text[row.column(3)],
            payload: &self.text[row.column(4)],
            metadata: &self.text[row.column(5)],
            recorded_at_micros: row.recorded_at_micros,
        }
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= CHUNK_EVENTS_MAX || self.text.len() >= CHUNK_BYTES_MAX
    }

    /// Takes in a message of the copy. `None`: it is not what we asked for.
    fn push(&mut self, message: &mut Bytes) -> Option<()> {
        let columns = message.try_get_i16().ok()?;
        if columns == -1 {
            // The trailer.
            return Some(());
        }
        if columns != COLUMNS {
            return None;
        }
        let start = self.text.len();
        let position = integer(message)?;
        let aggregate_type = self.text(message)?;
        let aggregate_id = self.text(message)?;
        let sequence = integer(message)?;
        let ends = [
            aggregate_type,
            aggregate_id,
            self.text(message)?,
            self.text(message)?,
            self.text(message)?,
            self.text(message)?,
        ];
        let recorded_at_micros = integer(message)?.saturating_add(POSTGRES_EPOCH_MICROS);
        self.rows.push(Row { position, sequence, recorded_at_micros, start, ends });
        Some(())
    }

    /// Takes in a text and says where it ends.
    fn text(&mut self, message: &mut Bytes) -> Option<usize> {
        let length = usize::try_from(message.try_get_i32().ok()?).ok()?;
        self.text.push_str(std::str::from_utf8(message.get(..length)?).ok()?);
        message.advance(length);
        Some(self.text.len())
    }
}

fn integer(message: &mut Bytes) -> Option<i64> {
    (message.try_get_i32().ok()? == 8).then_some(())?;
    message.try_get_i64().ok()
}

type Sender = mpsc::Sender<Result<Chunk, sqlx::Error>>;

async fn read(pool: &PgPool, after: i64, upto: i64, sender: &Sender) -> Result<(), sqlx::Error> {
    let upto = newest(pool).await?.min(upto);
    let mut chunk = Chunk::default();
    let mut from = after;
    while from < upto && !sender.is_closed() {
        let to = from.saturating_add(RANGE_POSITIONS).min(upto);
        read_range(pool, &copy_statement(from, to), &mut chunk, sender).await?;
        from = to;
    }
    if !chunk.is_empty() {
        // Whoever does not listen any more does not want it.
        sender.send(Ok(chunk)).await.ok();
    }
    Ok(())
}

/// Hands over what is full, and leaves the rest in `chunk`. Reads to the end, whoever listens; see the module.
async fn read_range(pool: &PgPool, statement: &str, chunk: &mut Chunk, sender: &Sender) -> Result<(), sqlx::Error> {
    let mut messages = pool.copy_out_raw(statement).await?;
    let mut outcome = Ok(());
    let mut is_first = true;
    while let Some(message) = messages.next().await {
        let mut message = message?;
        if std::mem::take(&mut is_first) && message.starts_with(HEADER) {
            message.advance(HEADER.len());
        }
        if message.is_empty() || outcome.is_err() || sender.is_closed() {
            continue;
        }
        outcome =
            chunk.push(&mut message).ok_or_else(|| sqlx::Error::Protocol("a copied event has no form of ours".into()));
        if chunk.is_full() {
            sender.send(Ok(next_chunk(chunk))).await.ok();
        }
    }
    outcome
}

/// What was gathered; the next one will be about as large, and should not have to be moved for being a little larger.
fn next_chunk(chunk: &mut Chunk) -> Chunk {
    let text_bytes = chunk.text.len().saturating_add(chunk.text.len() / 4);
    let next = Chunk { text: String::with_capacity(text_bytes), rows: Vec::with_capacity(chunk.rows.len()) };
    std::mem::replace(chunk, next)
}

/// The newest position in the table, whatever `ledger_head` says: who checks the log must see what stands beyond it.
async fn newest(pool: &PgPool) -> Result<i64, sqlx::Error> {
    let newest: Option<i64> = sqlx::query_scalar("SELECT max(position) FROM events").fetch_one(pool).await?;
    Ok(newest.unwrap_or(0))
}

fn copy_statement(after: i64, upto: i64) -> String {
    format!(
        "COPY (
             SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at
             FROM events
             WHERE position > {after} AND position <= {upto}
             ORDER BY position
         ) TO STDOUT (FORMAT binary)"
    )
}
