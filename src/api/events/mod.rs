//! `POST /v1/events`, `GET /v1/events`, `GET /v1/events/{id}`.

mod binary;
mod form;
mod hand_in;
mod key;

pub(super) use self::hand_in::hand_in;

use super::{
    App, Open,
    access::Asker,
    deliveries,
    id::Id,
    json,
    problem::Problem,
    query::Query,
    view::{EventDetail, EventItem, Page, StatusCounts},
};
use crate::{
    history::{
        Filter,
        deliveries::unfold,
        events::{self, Listed},
    },
    ingest::access::Verdict,
    model::{
        content::ContentType,
        delivery::Status,
        event::NewEvent,
        id::{EventId, IdKey},
        time::Timestamp,
    },
    outbox::StoreError,
    policy::rights::Thing,
};
use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{Response, StatusCode},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::value::RawValue;

/// Events, newest first.
pub(super) async fn list(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    let known = ["type", "account", "status", "since", "until", "limit", "cursor"];
    let query = Query::read(query.as_deref(), &known)?;
    let open = app.open().await?;
    let filter = filter(&query, &asker)?;
    let id_key = open.outbox.id_key().clone();
    let before = match query.value::<EventId>("cursor")? {
        Some(id) => Some(id_key.open_event(id).ok_or_else(wrong_cursor)?.1),
        None => None,
    };
    let limit = query.limit()?;
    let status = query.text("status").map(status).transpose()?;
    let page =
        open.read(&asker.0, move |reader| events::page(reader, &filter, status, before, limit)).await?;
    // It may be the place of another account's: so it is nobody's id, and says no time.
    let next_cursor = page.next.map(|seq| id_key.event_id(Timestamp::EPOCH, seq).to_string());
    let items = page.items.into_iter().map(|listed| item(listed, &id_key)).collect();
    Ok(json(StatusCode::OK, &Page { items, next_cursor }))
}

pub(super) fn wrong_cursor() -> Problem {
    Problem::bad_request("`cursor` is none that was given here; begin without one")
}

/// The filters that lists have in common.
pub(super) fn filter(query: &Query, asker: &Asker) -> Result<Filter, Problem> {
    Ok(Filter {
        event_type: query.value("type")?,
        account: asker.account(query)?,
        since: query.value("since")?.unwrap_or(Timestamp::EPOCH),
        until: query.value("until")?.unwrap_or(Timestamp::MAX),
    })
}

/// The status that is asked for.
pub(super) fn status(text: &str) -> Result<Status, Problem> {
    let all = Status::ALL.map(Status::as_str);
    let found = Status::ALL.into_iter().find(|status| status.as_str() == text);
    found.ok_or_else(|| Problem::bad_request(format!("`status` is one of {}", all.join(", "))))
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
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
) -> Result<Response<Body>, Problem> {
    Query::read(query.as_deref(), &[])?;
    let open = app.open().await?;
    Ok(json(StatusCode::OK, &detail(&app, &open, &id, &asker.0).await?))
}

async fn detail(app: &App, open: &Open, id: &str, who: &Verdict) -> Result<EventDetail, Problem> {
    let missing = || Problem::not_found(format!("there is no event {}", shown(id)));
    let id: EventId = id.parse().map_err(|error| Problem::not_found(format!("{}: {error}", shown(id))))?;
    let (accepted_at, seq) = open.outbox.id_key().open_event(id).ok_or_else(missing)?;
    let found = open.read(who, move |reader| Ok((reader.event(seq)?, reader.rows_of(seq)?))).await?;
    let (Some(event), rows) = found else { return Err(missing()) };
    if event.accepted_at != accepted_at || !who.sees(&event.new.account) {
        return Err(missing());
    }
    let deliveries = deliveries::items((app, who), open, rows.into_iter().flat_map(unfold)).await?;
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
        uid: event.new.uid.filter(|_| who.may(Thing::Producers)),
        producer_id: event.new.producer_id,
        url: event.new.url.map(String::from),
        key: event.new.key,
        effect: event.new.effect,
        content_type,
        cloudevent: event.new.cloud.map(|cloud| cloud.values()),
        data,
        data_base64,
        deliveries,
    })
}

/// What a client wrote, as far as a message should repeat it.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}
