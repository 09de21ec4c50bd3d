//! `POST /v1/endpoints/{id}/test`.

use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, Response, StatusCode},
};

use super::{asked, take};
use crate::{
    api::{
        App, Open,
        access::Asker,
        deliveries::{phases, request, response},
        document::{Document, Field},
        id::Id,
        json,
        problem::Problem,
        sent::SentBody,
        view::TestView,
    },
    engine::endpoints::Tested,
    ingest::event::json::check_depth,
    model::event::EventType,
};

/// Makes one request, and tells all about it.
pub(super) async fn test(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let (open, target) = asked(&app, &asker, &id, query.as_deref()).await?;
    let taken = take(&app, &open, &headers, body).await?;
    let (event_type, data) = read(&taken.bytes)?;
    let tested = open.endpoints.test(target.number, event_type, data).await?;
    Ok(json(StatusCode::OK, &view(&tested, &open)))
}

fn read(body: &Bytes) -> Result<(Option<EventType>, Option<Bytes>), Problem> {
    let document = Document::read(body, &["type", "data"], |_| None)?;
    let event_type = document.get("type").map(Field::parsed).transpose()?;
    let data = document.get("data").map(|field| field.bytes(body));
    if let Some(data) = &data {
        check_depth(data).map_err(|error| Problem::bad_request(error.to_string()))?;
    }
    Ok((event_type, data))
}

fn view(tested: &Tested, open: &Open) -> TestView {
    let Tested { target, event, attempt, body } = tested;
    let (report, id_key) = (&attempt.report, open.outbox.id_key());
    let request = request(attempt, event, target, Some(&SentBody::new(body)), open);
    TestView {
        success: report.success,
        event_id: id_key.event_id(event.accepted_at, attempt.delivery.seq),
        delivery_id: id_key.delivery_id(event.accepted_at, attempt.delivery),
        event_type: event.new.event_type.clone(),
        started_at: report.started_at,
        address: report.address,
        reconnected: report.reconnected,
        phases: phases(&report.phases),
        request,
        response: response(report),
    }
}
