//! The statements of the event store.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};

use super::append::Append;
use super::json_text::JsonText;
use crate::claims::{ClaimKind, TakenClaim};

/// What the database says of a group.
#[derive(Debug)]
pub(super) struct GroupOutcome {
    /// Position of the winners' first event.
    pub(super) first_position: i64,
    /// Ordered by command.
    pub(super) losers: Vec<Loser>,
}

/// A command that lost.
#[derive(Debug)]
pub(super) struct Loser {
    /// Its index in the group.
    pub(super) command: usize,
    pub(super) reason: LossReason,
}

/// Why a command lost.
#[derive(Debug)]
pub(super) enum LossReason {
    /// The stream's last sequence is another.
    Sequence { found: i64 },
    /// A claim is taken.
    Claim(TakenClaim),
}

/// Settings of the committer's own connection. The plans of the append are made once and always probe by index: a
/// custom plan costs more than it gains, and one made while tables were empty must not scan them once they are large.
pub(super) async fn prepare_connection(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "SELECT set_config('plan_cache_mode', 'force_generic_plan', false),
                set_config('enable_seqscan', 'off', false),
                set_config('enable_hashjoin', 'off', false),
                set_config('enable_mergejoin', 'off', false),
                set_config('jit', 'off', false)",
    )
    .fetch_all(connection)
    .await
    .map(drop)
}

/// Writes a group: one statement, one round trip, one commit. `careful` looks for losers first instead of leaving it to the
/// constraints to find one: dearer without losers, cheaper with them.
pub(super) async fn append_group(
    connection: &mut PgConnection,
    group: &[&Append],
    careful: bool,
) -> Result<GroupOutcome, sqlx::Error> {
    let columns = Columns::of(group);
    let rows = sqlx::query(
        "SELECT command, first_position, stream_sequence, claim, holder, detail
         FROM append_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    )
    .bind(careful)
    .bind(&columns.command_types)
    .bind(&columns.command_ids)
    .bind(&columns.command_expected)
    .bind(&columns.event_commands)
    .bind(&columns.event_aggregates)
    .bind(&columns.event_ids)
    .bind(&columns.event_sequences)
    .bind(&columns.event_names)
    .bind(&columns.event_versions)
    .bind(&columns.event_payloads)
    .bind(&columns.event_metadata)
    .bind(&columns.claim_commands)
    .bind(&columns.claim_ids)
    .bind(&columns.claim_kinds)
    .bind(&columns.claim_keys)
    .bind(&columns.claim_details)
    // All rows, to the end: the rows arrive before the commit, its failure after them. `fetch_one` would not wait.
    .fetch_all(connection)
    .await?;
    let (summary, losers) = rows.split_first().ok_or(sqlx::Error::RowNotFound)?;
    let losers = losers.iter().map(|row| read_loser(row, group)).collect::<Result<Vec<_>, _>>()?;
    Ok(GroupOutcome { first_position: summary.try_get("first_position")?, losers })
}

fn read_loser(row: &PgRow, group: &[&Append]) -> Result<Loser, sqlx::Error> {
    let reason = match row.try_get("stream_sequence")? {
        Some(found) => LossReason::Sequence { found },
        None => {
            let claim = read_index(row, "claim")?;
            let claim = group.iter().flat_map(|append| &append.claims).nth(claim).ok_or(sqlx::Error::RowNotFound)?;
            LossReason::Claim(TakenClaim {
                claim: claim.clone(),
                holder: row.try_get("holder")?,
                detail: row.try_get("detail")?,
            })
        }
    };
    Ok(Loser { command: read_index(row, "command")?, reason })
}

fn read_index(row: &PgRow, column: &str) -> Result<usize, sqlx::Error> {
    let value: i32 = row.try_get(column)?;
    usize::try_from(value)
        .map_err(|error| sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(error) })
}

/// The group as the arrays of `append_events`.
#[derive(Default)]
struct Columns<'a> {
    command_types: Vec<&'a str>,
    command_ids: Vec<&'a str>,
    command_expected: Vec<i64>,
    event_commands: Vec<i32>,
    event_aggregates: Vec<&'a str>,
    event_ids: Vec<&'a str>,
    event_sequences: Vec<i64>,
    event_names: Vec<&'a str>,
    event_versions: Vec<&'a str>,
    event_payloads: Vec<JsonText<'a>>,
    event_metadata: Vec<JsonText<'a>>,
    claim_commands: Vec<i32>,
    claim_ids: Vec<&'a str>,
    claim_kinds: Vec<&'a str>,
    claim_keys: Vec<&'a str>,
    claim_details: Vec<Option<JsonText<'a>>>,
}

impl<'a> Columns<'a> {
    fn of(group: &[&'a Append]) -> Self {
        let mut columns = Self::default();
        for (command, append) in (0_i32..).zip(group) {
            columns.command_types.push(append.aggregate_type);
            columns.command_ids.push(&append.aggregate_id);
            columns.command_expected.push(append.expected);
            for (sequence, event) in (append.expected + 1..).zip(&append.events) {
                columns.event_commands.push(command);
                columns.event_aggregates.push(append.aggregate_type);
                columns.event_ids.push(&append.aggregate_id);
                columns.event_sequences.push(sequence);
                columns.event_names.push(&event.name);
                columns.event_versions.push(&event.version);
                columns.event_payloads.push(JsonText(&event.payload));
                columns.event_metadata.push(JsonText(&append.metadata));
            }
            for claim in &append.claims {
                columns.claim_commands.push(command);
                columns.claim_ids.push(&append.aggregate_id);
                columns.claim_kinds.push(claim.kind().as_str());
                columns.claim_keys.push(claim.key());
                columns.claim_details.push(claim.detail().map(JsonText));
            }
        }
        columns
    }
}

/// The position of the event with this content at `expected + 1` of the append's stream, if it is in the ledger.
pub(super) async fn find_first_event(
    connection: &mut PgConnection,
    append: &Append,
) -> Result<Option<i64>, sqlx::Error> {
    let Some(first) = append.events.first() else { return Ok(None) };
    let rows = sqlx::query_scalar(
        "SELECT position FROM events
         WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence = $3
           AND event_type = $4 AND payload::text = $5 AND metadata::text = $6",
    )
    .bind(append.aggregate_type)
    .bind(&append.aggregate_id)
    .bind(append.expected + 1)
    .bind(&first.name)
    .bind(&first.payload)
    .bind(&append.metadata)
    .fetch_all(connection)
    .await?;
    Ok(rows.first().copied())
}

/// Sequence and payload of a stream's events after `sequence`. (`postgres_es` can do this too, but writes the sequence into
/// the statement, which makes every call another one to prepare.)
pub(super) async fn read_tail(
    pool: &PgPool,
    aggregate_type: &str,
    aggregate_id: &str,
    sequence: i64,
) -> Result<Vec<(i64, String, String, String)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT sequence, event_type, event_version, payload::text FROM events
         WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > $3
         ORDER BY sequence",
    )
    .bind(aggregate_type)
    .bind(aggregate_id)
    .bind(sequence)
    .fetch_all(pool)
    .await
}

/// Who holds a claim: the aggregate's id and what it left beside it, as JSON text.
pub(crate) async fn find_claim(
    pool: &PgPool,
    kind: ClaimKind,
    key: &str,
) -> Result<Option<(String, Option<String>)>, sqlx::Error> {
    sqlx::query_as("SELECT aggregate_id, detail::text FROM claims WHERE kind = $1 AND key = $2")
        .bind(kind.as_str())
        .bind(key)
        .fetch_optional(pool)
        .await
}

/// The ids of all access keys, oldest first. They are few, and side by side in the key of `events`.
pub(crate) async fn access_key_ids(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT aggregate_id FROM events
         WHERE aggregate_type = $1 AND sequence = 1
         ORDER BY position",
    )
    .bind(wopay_domain::access::AGGREGATE_TYPE)
    .fetch_all(pool)
    .await
}

/// The names of the chains that have events.
pub(crate) async fn chain_ids(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT aggregate_id FROM events WHERE aggregate_type = $1 AND sequence = 1")
        .bind(wopay_domain::chains::AGGREGATE_TYPE)
        .fetch_all(pool)
        .await
}

/// The tokens added at run time that are watched, and from which block.
pub(crate) async fn watched_assets(pool: &PgPool) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as("SELECT asset, from_block FROM watched_assets").fetch_all(pool).await
}

/// The chains of which a watcher has begun, and what the one that was last at work looks for, if it said so.
pub(crate) async fn begun_chains(pool: &PgPool) -> Result<Vec<(String, Option<Vec<String>>)>, sqlx::Error> {
    sqlx::query_as("SELECT chain, assets FROM chain_cursors").fetch_all(pool).await
}
