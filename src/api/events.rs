//! `POST /v1/events`, `GET /v1/events`, `GET /v1/events/{id}`.

use super::{
    App, Open,
    body::{self, Limit},
    deliveries,
    id::Id,
    json,
    problem::Problem,
    query::Query,
    view::{AnswerList, EventDetail, EventItem, Page, StatusCounts},
};
use crate::{
    history::{
        Filter,
        deliveries::unfold,
        events::{self, Listed},
    },
    ingest::{
        answer::{Code, Refusal},
        event,
        intake::{Intake, Permit, wire},
        lines::{Line, Lines},
        stream::too_large,
    },
    model::{
        account::AccountName,
        content::ContentType,
        event::NewEvent,
        id::{EventId, IdKey},
        time::Timestamp,
    },
    outbox::StoreError,
};
use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, Response, StatusCode},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::value::RawValue;

/// A body larger than this is read into events beside the threads that serve the sockets.
const LARGE: usize = 64 << 10;

/// Takes one event, or many.
pub(super) async fn hand_in(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let query = Query::read(query.as_deref(), &["account"])?;
    let account: AccountName = query.value("account")?.unwrap_or_default();
    let form = Form::of(&headers)?;
    let intake = app.open().await?.intake;
    if *app.stopping.borrow() {
        return Err(Refusal::stopping().into());
    }
    let mut permit = Permit::default();
    let limit = form.limit(&intake);
    let body = body::read(body, &headers, &limit, &intake, &mut permit).await?;
    match form {
        Form::One => one(&intake, &body, &account, permit).await,
        Form::Lines => many(&intake, body, account, permit).await,
    }
}

async fn one(
    intake: &Intake,
    body: &Bytes,
    account: &AccountName,
    permit: Permit,
) -> Result<Response<Body>, Problem> {
    let event =
        event::parse(body, account).map_err(|error| Refusal::new(Code::InvalidEvent, error.to_string()));
    let mut answers = intake.submit(vec![event], permit).answers().await;
    let answer = answers.pop().unwrap_or_else(|| Err(Refusal::store_failed()));
    Ok(json(StatusCode::ACCEPTED, &answer?))
}

async fn many(
    intake: &Intake,
    body: Bytes,
    account: AccountName,
    permit: Permit,
) -> Result<Response<Body>, Problem> {
    let (most, event_size) = (intake.limits().batch_events, intake.limits().event_size);
    let large = body.len() > LARGE;
    let work = move || split(&body, event_size, &account, most);
    let items = if large { blocking(work).await? } else { work() };
    let Some(items) = items else {
        let detail =
            format!("the body has more than {most} events ([limits] batch_events); nothing was taken");
        return Err(Refusal::new(Code::BatchTooLarge, detail).into());
    };
    let answers = intake.submit(items, permit).answers().await;
    Ok(json(StatusCode::ACCEPTED, &AnswerList { items: answers.into_iter().map(wire).collect() }))
}

/// The events of an NDJSON body; `None` if they are more than `most`. Its end is known, so the last line needs no
/// line end.
fn split(
    body: &Bytes,
    event_size: usize,
    account: &AccountName,
    most: usize,
) -> Option<Vec<Result<NewEvent, Refusal>>> {
    let mut lines = Lines::new(event_size);
    lines.buffer().reserve(body.len() + 1);
    lines.buffer().extend_from_slice(body);
    lines.buffer().extend_from_slice(b"\n");
    let mut items = Vec::new();
    while let Some(line) = lines.next_line() {
        if items.len() == most {
            return None;
        }
        items.push(match line {
            Line::Whole(number, line) => event::parse(&line, account)
                .map_err(|error| Refusal::new(Code::InvalidEvent, format!("line {number}: {error}"))),
            Line::TooLong(number) => Err(too_large(number, event_size)),
        });
    }
    Some(items)
}

/// Work that would hold up the threads that serve the sockets.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let failed =
        |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "an error in posthaste; see its log");
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

/// What a body is.
#[derive(Clone, Copy)]
enum Form {
    Lines,
    One,
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let essence = body::essence(headers);
        if body::is_json(essence) {
            return Ok(Self::One);
        }
        if essence.eq_ignore_ascii_case("application/x-ndjson") {
            return Ok(Self::Lines);
        }
        let shown: String = essence.chars().take(64).collect();
        let detail = format!(
            "the content type `{shown}` is not taken; send application/json (one event) or application/x-ndjson (one a line)"
        );
        Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
    }

    fn limit(self, intake: &Intake) -> Limit {
        let limits = intake.limits();
        match self {
            Self::Lines => Limit {
                bytes: limits.batch_size,
                code: Code::BatchTooLarge.as_str(),
                setting: " ([limits] batch_size)",
            },
            Self::One => Limit {
                bytes: limits.event_size,
                code: Code::EventTooLarge.as_str(),
                setting: " ([limits] event_size)",
            },
        }
    }
}

/// Events, newest first.
pub(super) async fn list(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    let known = ["type", "account", "since", "until", "limit", "cursor"];
    let query = Query::read(query.as_deref(), &known)?;
    let open = app.open().await?;
    let filter = filter(&query)?;
    let id_key = open.outbox.id_key().clone();
    let before = match query.value::<EventId>("cursor")? {
        Some(id) => Some(id_key.open_event(id).ok_or_else(wrong_cursor)?.1),
        None => None,
    };
    let limit = query.limit()?;
    let page = open.read(move |reader| events::page(reader, &filter, before, limit)).await?;
    let next_cursor = page.next.map(|(seq, at)| id_key.event_id(at, seq).to_string());
    let items = page.items.into_iter().map(|listed| item(listed, &id_key)).collect();
    Ok(json(StatusCode::OK, &Page { items, next_cursor }))
}

pub(super) fn wrong_cursor() -> Problem {
    Problem::bad_request("`cursor` is none that was given here; begin without one")
}

/// The filters that lists have in common.
pub(super) fn filter(query: &Query) -> Result<Filter, Problem> {
    Ok(Filter {
        event_type: query.value("type")?,
        account: query.value("account")?,
        since: query.value("since")?.unwrap_or(Timestamp::EPOCH),
        until: query.value("until")?.unwrap_or(Timestamp::MAX),
    })
}

fn item(listed: Listed, id_key: &IdKey) -> EventItem {
    let Listed { seq, head, deliveries } = listed;
    let mut counts = StatusCounts::default();
    for delivery in &deliveries {
        counts.add(delivery.state.status());
    }
    EventItem {
        id: id_key.event_id(head.accepted_at, seq),
        account: head.account,
        event_type: head.event_type,
        accepted_at: head.accepted_at,
        size: u64::from(head.size),
        deliveries: counts,
    }
}

/// One event, whole.
pub(super) async fn show(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
) -> Result<Response<Body>, Problem> {
    Query::read(query.as_deref(), &[])?;
    let open = app.open().await?;
    Ok(json(StatusCode::OK, &detail(&app, &open, &id).await?))
}

async fn detail(app: &App, open: &Open, id: &str) -> Result<EventDetail, Problem> {
    let missing = || Problem::not_found(format!("there is no event {}", shown(id)));
    let id: EventId = id.parse().map_err(|error| Problem::not_found(format!("{}: {error}", shown(id))))?;
    let (accepted_at, seq) = open.outbox.id_key().open_event(id).ok_or_else(missing)?;
    let found = open.read(move |reader| Ok((reader.event(seq)?, reader.rows_of(seq)?))).await?;
    let (Some(event), rows) = found else { return Err(missing()) };
    if event.accepted_at != accepted_at {
        return Err(missing());
    }
    let deliveries = deliveries::items(app, open, rows.into_iter().flat_map(unfold)).await?;
    let time = event.time();
    let NewEvent { data, content_type, .. } = &event.new;
    let (data, data_base64) = if content_type.as_ref().is_none_or(ContentType::is_json) {
        let text = String::from_utf8(data.to_vec()).ok();
        let data = text.and_then(|text| RawValue::from_string(text).ok());
        let unreadable = || Problem::from(StoreError::Row { table: "events", key: seq.get() });
        (Some(data.ok_or_else(unreadable)?), None)
    } else {
        (None, Some(STANDARD.encode(data)))
    };
    let content_type = content_type.as_ref().map_or(ContentType::JSON, ContentType::as_str).to_owned();
    Ok(EventDetail {
        id,
        account: event.new.account,
        event_type: event.new.event_type,
        time,
        accepted_at,
        not_before: event.new.not_before.map(|not_before| not_before.time(accepted_at)),
        clock_unset: event.clock_unset,
        producer_id: event.new.producer_id,
        url: event.new.url.map(String::from),
        key: event.new.key,
        effect: event.new.effect,
        content_type,
        data,
        data_base64,
        deliveries,
    })
}

/// What a client wrote, as far as a message should repeat it.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}
