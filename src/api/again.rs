//! `POST /v1/deliveries/{id}/replay` and `…/cancel`: what has ended is delivered again, and what is pending called off.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, Response, StatusCode},
};

use super::{
    App, Open, access::Asker, deliveries::items, document::Document, endpoints::take, events::shown, id::Id,
    json, problem::Problem, query::Query, view::DeliveryItem,
};
use crate::{
    engine::directory::Target,
    history::deliveries::Found,
    ingest::access::Verdict,
    model::{
        delivery::{DeliveryKey, State as DeliveryState},
        id::DeliveryId,
        time::Timestamp,
    },
    outbox::{Replay, Replayed},
};

/// So often is a delivery called off that was attempted meanwhile.
const TRIES: usize = 5;

/// A delivery that somebody wants to change, and may.
struct Asked {
    id: String,
    who: Verdict,
    accepted_at: Timestamp,
    key: DeliveryKey,
    found: Found,
}

/// Reads what is asked, which is said by the path alone, and finds the delivery.
async fn read(
    (asker, app): (Asker, &App),
    (query, id): (Option<&str>, String),
    headers: &HeaderMap,
    body: Body,
) -> Result<(Open, Asked), Problem> {
    Query::read(query, &[])?;
    let open = app.open().await?;
    let taken = take(app, &open, headers, body).await?;
    Document::read(&taken.bytes, &[], |_| None)?;
    let parsed: DeliveryId =
        id.parse().map_err(|error| Problem::not_found(format!("{}: {error}", shown(&id))))?;
    let (accepted_at, key) = open.outbox.id_key().open_delivery(parsed).ok_or_else(|| missing(&id))?;
    let found = find(&open, &id, accepted_at, key, &asker.0).await?;
    Ok((open, Asked { id, who: asker.0, accepted_at, key, found }))
}

/// The delivery as it is now.
async fn find(
    open: &Open,
    id: &str,
    accepted_at: Timestamp,
    key: DeliveryKey,
    who: &Verdict,
) -> Result<Found, Problem> {
    let seeing = who.clone();
    let read = open.read(who, move |reader| {
        let Some((_, delivery)) = reader.delivery(key)? else { return Ok(None) };
        let Some(head) = reader.head(key.seq)? else { return Ok(None) };
        let is_it = head.accepted_at == accepted_at && seeing.sees(&head.account);
        Ok(is_it.then_some(Found { key, head, delivery }))
    });
    read.await?.ok_or_else(|| missing(id))
}

fn missing(id: &str) -> Problem {
    Problem::not_found(format!("there is no delivery {}", shown(id)))
}

impl Asked {
    /// The delivery as lists show it, as it is now.
    async fn item(&self, app: &App, open: &Open) -> Result<DeliveryItem, Problem> {
        let found = find(open, &self.id, self.accepted_at, self.key, &self.who).await?;
        items((app, &self.who), open, std::iter::once(found)).await?.pop().ok_or_else(|| missing(&self.id))
    }
}

/// Has a delivery that has ended delivered again.
pub(super) async fn replay(
    who: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let (open, asked) = read((who, &app), (query.as_deref(), id), &headers, body).await?;
    let Found { head, delivery, .. } = &asked.found;
    let target = open.directory.target(delivery.endpoint);
    let (at, wall) = (app.clock.now(), app.clock.wall());
    let to_endpoint = target.filter(|target| target.stored.origin().is_none());
    // The directory may learn a moment later than the store that all is discarded.
    let called_off = to_endpoint.as_ref().is_some_and(|target| calls_off(target, asked.key));
    let callback = if to_endpoint.is_none() {
        let seq = asked.key.seq;
        let url = open.read(&asked.who, move |reader| reader.callback(seq)).await?.unwrap_or_default();
        Some(open.intake.call_again(&head.account, &url, at)?)
    } else {
        None
    };
    let replayed = if called_off {
        Replayed::Discarding
    } else {
        open.outbox.replay(Replay { key: asked.key, at, wall, callback }).await?
    };
    done(replayed, &asked.id)?;
    Ok(json(StatusCode::OK, &asked.item(&app, &open).await?))
}

/// Calls a delivery off that is pending.
pub(super) async fn cancel(
    who: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let (open, asked) = read((who, &app), (query.as_deref(), id), &headers, body).await?;
    let mut delivery = asked.found.delivery;
    if delivery.state != DeliveryState::Pending {
        let detail = format!("the delivery has ended already: it is {}", delivery.state.status().as_str());
        return Err(Problem::new(StatusCode::CONFLICT, "delivery_ended", detail));
    }
    // An attempt may come between the look and the word; each has its next one later.
    for _ in 0..TRIES {
        if !open.engine.cancel(asked.key, delivery).await? {
            return Err(too_early());
        }
        delivery = find(&open, &asked.id, asked.accepted_at, asked.key, &asked.who).await?.delivery;
        if delivery.state != DeliveryState::Pending || delivery.called_off {
            return Ok(json(StatusCode::OK, &asked.item(&app, &open).await?));
        }
    }
    let detail = "the delivery is attempted again and again at this moment; cancel it again";
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail))
}

fn calls_off(target: &Arc<Target>, key: DeliveryKey) -> bool {
    !target.stored.is_deleted() && target.stored.calls_off(key.seq).is_some()
}

/// Whether a delivery is delivered again; or why not.
fn done(replayed: Replayed, id: &str) -> Result<(), Problem> {
    let conflict = |code, detail: &str| Problem::new(StatusCode::CONFLICT, code, detail);
    Err(match replayed {
        Replayed::Done(_) => return Ok(()),
        Replayed::Missing => missing(id),
        Replayed::Pending => conflict(
            "delivery_pending",
            "the delivery is pending: it is attempted anyway; what has ended can be replayed",
        ),
        Replayed::Deleted => conflict(
            "endpoint_deleted",
            "the delivery's endpoint has been deleted: it can go nowhere; make an endpoint, and hand the event in again",
        ),
        Replayed::Discarding => conflict(
            "endpoint_discarding",
            "the endpoint was enabled without what had waited, and that is still being cancelled; replay it again in a moment",
        ),
        Replayed::Full => conflict(
            "endpoint_full",
            "as many deliveries are pending for where it goes as may be (`pending_per_endpoint`; for callbacks `max_origins`, too); replay it again when some have ended",
        ),
        Replayed::TooEarly => too_early(),
    })
}

fn too_early() -> Problem {
    let detail = "what is pending is still being counted after the start; ask again in a moment";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "starting", detail)
}
