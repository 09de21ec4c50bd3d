//! In which forms events are handed in over HTTP: by the content type, and by the headers of a CloudEvent in binary mode.

use std::fmt;

use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode},
};
use bytes::BytesMut;
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::binary::{self, Binary};
use crate::{
    api::{
        body::{self, Limit},
        problem::Problem,
    },
    ingest::{
        answer::{Code, Refusal},
        dialect::{Dialect, Frames, Place},
        event::{InvalidEvent, cloud, json, message, too_large},
        intake::Intake,
    },
    model::{account::AccountName, event::NewEvent},
};

/// What a body is.
pub(super) enum Form {
    /// One event.
    One(One),
    /// Events, each with an answer of its own.
    Many(Many),
}

/// What a body with one event is.
pub(super) enum One {
    /// An object of JSON.
    Json,
    /// A map of MessagePack.
    MessagePack,
    /// A CloudEvent as JSON.
    Cloud,
    /// The payload of a CloudEvent whose attributes are in headers.
    Binary(Binary),
}

/// What a body with many events is.
#[derive(Clone, Copy)]
pub(super) enum Many {
    /// An object of JSON a line.
    Lines,
    /// An array of CloudEvents as JSON.
    Cloud,
}

impl Form {
    /// What the headers say.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let essence = body::essence(headers).to_ascii_lowercase();
        match essence.as_str() {
            "application/cloudevents+json" => return Ok(Self::One(One::Cloud)),
            "application/cloudevents-batch+json" => return Ok(Self::Many(Many::Cloud)),
            other if other.starts_with("application/cloudevents") => return Err(unsupported(other)),
            _ => {}
        }
        if let Some(binary) = binary::of(headers).map_err(Refusal::from)? {
            return Ok(Self::One(One::Binary(binary)));
        }
        match essence.as_str() {
            essence if body::is_json(essence) => Ok(Self::One(One::Json)),
            "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => {
                Ok(Self::One(One::MessagePack))
            }
            "application/x-ndjson" => Ok(Self::Many(Many::Lines)),
            other => Err(unsupported(other)),
        }
    }

    /// How large the body may be.
    pub(super) fn limit(&self, intake: &Intake) -> Limit {
        let limits = intake.limits();
        match self {
            Self::Many(_) => Limit {
                bytes: limits.batch_size,
                code: Code::BatchTooLarge.as_str(),
                setting: " ([limits] batch_size)",
            },
            Self::One(_) => Limit {
                bytes: limits.event_size,
                code: Code::EventTooLarge.as_str(),
                setting: " ([limits] event_size)",
            },
        }
    }
}

fn unsupported(essence: &str) -> Problem {
    let shown: String = essence.chars().take(64).collect();
    let detail = format!(
        "the content type `{shown}` is not taken; send application/json, application/msgpack or \
         application/cloudevents+json (one event), or application/x-ndjson (one a line) or \
         application/cloudevents-batch+json (an array)"
    );
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}

impl One {
    /// How many bytes of memory the event takes at most besides a body of `length` bytes.
    pub(super) const fn cost(&self, length: usize, event_size: usize) -> usize {
        match self {
            Self::Json | Self::Binary(_) => 0,
            // What is in a text or in base64 is made beside it.
            Self::Cloud => length,
            Self::MessagePack => message::cost(length, event_size),
        }
    }

    /// The event.
    pub(super) fn parse(
        self,
        body: &Bytes,
        account: &AccountName,
        event_size: usize,
    ) -> Result<NewEvent, InvalidEvent> {
        match self {
            Self::Json => json::parse(body, account),
            Self::MessagePack => message::parse(body, account, event_size),
            Self::Cloud => cloud::parse(body, account),
            Self::Binary(binary) => binary.with(body.clone(), account),
        }
    }
}

impl Many {
    /// How many bytes of memory the events take at most besides a body of `length` bytes.
    pub(super) const fn cost(self, length: usize) -> usize {
        match self {
            Self::Lines => 0,
            Self::Cloud => length,
        }
    }

    /// The events of a body, `most` at most.
    pub(super) fn split(
        self,
        body: Bytes,
        event_size: usize,
        account: &AccountName,
        most: usize,
    ) -> Result<Vec<Result<NewEvent, Refusal>>, Refusal> {
        match self {
            Self::Lines => split_lines(body, event_size, account, most),
            Self::Cloud => split_array(&body, event_size, account, most),
        }
    }
}

fn too_many(most: usize) -> Refusal {
    let detail = format!("the body has more than {most} events ([limits] batch_events); nothing was taken");
    Refusal::new(Code::BatchTooLarge, detail)
}

/// Its end is known, so the last line needs no line end.
fn split_lines(
    body: Bytes,
    event_size: usize,
    account: &AccountName,
    most: usize,
) -> Result<Vec<Result<NewEvent, Refusal>>, Refusal> {
    let mut frames = Frames::new(Dialect::Json, event_size);
    // Nobody else has it, so this copies nothing.
    *frames.buffer() = BytesMut::from(body);
    let mut items = Vec::new();
    while let Some(frame) = frames.next_frame() {
        if items.len() == most {
            return Err(too_many(most));
        }
        items.push(frames.event(frame, account));
    }
    if let Some((number, Some(line))) = frames.rest() {
        if items.len() == most {
            return Err(too_many(most));
        }
        let event = json::parse(&line, account);
        items.push(event.map_err(|error| Refusal::from(error).at(Place::Line(number))));
    }
    Ok(items)
}

fn split_array(
    body: &Bytes,
    event_size: usize,
    account: &AccountName,
    most: usize,
) -> Result<Vec<Result<NewEvent, Refusal>>, Refusal> {
    json::refuse_text(body)?;
    let array: Array<'_> = serde_json::from_slice(body).map_err(|error| {
        let detail = format!("the body is no array of CloudEvents: {error}; nothing was taken");
        Refusal::new(Code::InvalidEvent, detail)
    })?;
    if array.0.len() > most {
        return Err(too_many(most));
    }
    let event = |source: &str| {
        if source.len() > event_size {
            return Err(too_large(event_size));
        }
        Ok(cloud::parse(&body.slice_ref(source.as_bytes()), account)?)
    };
    let places = (1..).map(Place::Item);
    let items = array.0.iter().zip(places);
    Ok(items.map(|(source, place)| event(source.get()).map_err(|refusal| refusal.at(place))).collect())
}

/// The elements of an array, as they stand.
struct Array<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Array<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ArrayVisitor)
    }
}

struct ArrayVisitor;

impl<'de> Visitor<'de> for ArrayVisitor {
    type Value = Array<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an array such as [{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/a\",\"type\":\"a.b\"}]",
        )
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Array(elements))
    }
}
