//! `GET /api/v1/events`: what happened, as it stands in the ledger. A merchant gets its own events, numbered 1, 2, 3 …
//! without a gap; the house gets the whole log by position.

use axum::extract::State;
use axum::response::Response;
use chrono::SecondsFormat;
use serde::Serialize;
use utoipa::ToSchema;
use wopay_domain::{RawJson, RecordedEvent};
use wopay_projections::feed::{self, FeedRow};

use crate::auth::Reader;
use crate::error::query_failed;
use crate::extract::{Format, Preferred, Query, read};
use crate::list::json;
use crate::problem::{Problem, ProblemBody};
use crate::routes::ledger::take_limit;
use crate::state::AppState;
use crate::table::{Cell, TableInfo, TableRow, optional, table};

/// Events, in order.
#[derive(Serialize, ToSchema)]
#[schema(as = EventList)]
pub(crate) struct EventsBody {
    /// As they were recorded.
    data: Vec<EventBody>,
    /// Give this as `after` for what comes next, now or later.
    next_after: i64,
    /// Whether something comes next now.
    has_more: bool,
    /// How far the ledger was read.
    as_of_position: i64,
}

/// An event. For the house exactly the members of the line that the audit log hashes, in its order and with the same
/// texts, so that `SHA256(0x00 || line)` can be computed from it.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventBody {
    /// Its number among the merchant's own events; not there for the house.
    #[serde(skip_serializing_if = "Option::is_none")]
    feed_sequence: Option<i64>,
    /// Position in the ledger.
    position: i64,
    /// `payment`, `merchant` or `access_key`.
    aggregate_type: String,
    /// Whose event it is.
    aggregate_id: String,
    /// Its number among the events of that payment, merchant or key.
    sequence: i64,
    /// Its name.
    #[schema(example = "DepositConfirmed")]
    event_type: String,
    /// The version of its shape.
    #[schema(example = "1.1")]
    event_version: String,
    /// The event, as it was written.
    #[schema(value_type = Object)]
    payload: RawJson,
    /// Its cause: actor, request.
    #[schema(value_type = Object)]
    metadata: RawJson,
    /// When it was recorded, with six digits of fraction.
    #[schema(example = "2026-11-23T18:00:00.123456Z")]
    recorded_at: String,
}

impl TableRow for EventBody {
    const COLUMNS: &'static [&'static str] = &[
        "feed_sequence",
        "position",
        "aggregate_type",
        "aggregate_id",
        "sequence",
        "event_type",
        "event_version",
        "payload",
        "metadata",
        "recorded_at",
    ];

    fn cells(&self) -> Vec<Cell<'_>> {
        vec![
            optional(self.feed_sequence),
            self.position.to_string().into(),
            self.aggregate_type.as_str().into(),
            self.aggregate_id.as_str().into(),
            self.sequence.to_string().into(),
            self.event_type.as_str().into(),
            self.event_version.as_str().into(),
            self.payload.as_str().into(),
            self.metadata.as_str().into(),
            self.recorded_at.as_str().into(),
        ]
    }
}

impl EventBody {
    fn of(event: RecordedEvent, feed_sequence: Option<i64>) -> Self {
        Self {
            feed_sequence,
            position: event.position,
            aggregate_type: event.aggregate_type,
            aggregate_id: event.aggregate_id,
            sequence: event.sequence,
            event_type: event.event_type,
            event_version: event.event_version,
            payload: event.payload,
            metadata: event.metadata,
            recorded_at: event.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
        }
    }

    /// What `after` goes by.
    fn number(&self) -> i64 {
        self.feed_sequence.unwrap_or(self.position)
    }
}

/// Events after a number: for a merchant its own, by `feed_sequence`; for the house all, by `position`.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    operation_id = "list_events",
    tag = "events",
    params(
        ("after" = Option<i64>, Query, minimum = 0, description = "`next_after` of the answer before; from the first event if not given"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Events a page, 100 if not given"),
        ("format" = Option<String>, Query, description = "`json` or `csv`; `Accept: text/csv` does the same. In CSV, `next_after` is the header `x-next-cursor`"),
    ),
    responses(
        (status = 200, description = "Events", content((EventsBody = "application/json"), (String = "text/csv"))),
        (status = 400, body = ProblemBody<'static>, description = "`invalid_query`: a parameter is unknown or not valid"),
        (status = 401, body = ProblemBody<'static>, description = "`unauthorized`: no valid key"),
        (status = 403, body = ProblemBody<'static>, description = "`merchant_suspended`"),
    ),
    security(("api_key" = []), ("access_key" = []))
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Reader,
    preferred: Preferred,
    mut query: Query,
) -> Result<Response, Problem> {
    let after = query.take("after", read::position).unwrap_or(0);
    let limit = take_limit(&mut query);
    let format = preferred.take(&mut query);
    query.finish()?;
    let body = read_events(&state, caller, after, limit).await.map_err(|error| query_failed(&error))?;
    match format {
        Format::Json => Ok(json(&body)),
        Format::Csv => {
            let next = body.next_after.to_string();
            let info = TableInfo { name: "events", as_of_position: body.as_of_position, next_cursor: Some(&next) };
            table(&info, &body.data)
        }
    }
}

async fn read_events(state: &AppState, caller: Reader, after: i64, limit: u16) -> Result<EventsBody, sqlx::Error> {
    let pool = &state.parts.pool;
    // One more than is shown tells whether there is more.
    let wanted = limit.saturating_add(1);
    let (mut data, as_of_position): (Vec<_>, _) = match caller {
        Reader::Merchant(merchant) => {
            let answer = feed::after(pool, merchant, after, wanted).await?;
            let own = |FeedRow { feed_sequence, event }| EventBody::of(event, Some(feed_sequence));
            (answer.value.into_iter().map(own).collect(), answer.as_of_position)
        }
        Reader::House => {
            let answer = feed::ledger_after(pool, after, wanted).await?;
            (answer.value.into_iter().map(|event| EventBody::of(event, None)).collect(), answer.as_of_position)
        }
    };
    let has_more = data.len() > usize::from(limit);
    data.truncate(usize::from(limit));
    let next_after = data.last().map_or(after, EventBody::number);
    Ok(EventsBody { data, next_after, has_more, as_of_position })
}
