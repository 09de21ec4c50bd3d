//! What one attempt can show of itself to placeholders and templates.

use std::fmt::Write as _;

use bytes::Bytes;
use http::HeaderValue;

use super::placeholder::Placeholder;
use crate::model::{cloud::CloudAttributes, content::ContentType, time::Timestamp};

/// Everything of one attempt that placeholders and templates may show, but for body, secret and signatures.
/// Not `Debug`: `data` is a payload.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The event's id, `evt_…`.
    pub event_id: &'a str,
    /// The delivery's id, `dlv_…`.
    pub delivery_id: &'a str,
    /// Eight characters in the delivery id's place.
    pub delivery_short: &'a str,
    /// The endpoint's id, `ep_…`; a callback's is whatever stands for it, empty if nothing does.
    pub endpoint_id: &'a str,
    /// The event's type.
    pub event_type: &'a str,
    /// The event's account.
    pub account: &'a str,
    /// The producer's own id of the event.
    pub producer_id: Option<&'a str>,
    /// When the event happened.
    pub event_time: Timestamp,
    /// The payload's very bytes.
    pub data: &'a Bytes,
    /// What the payload is; `None`: JSON.
    pub content_type: Option<&'a ContentType>,
    /// What else the event says of itself, if it came as a CloudEvent.
    pub cloud: Option<&'a CloudAttributes>,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// When the attempt began (wall clock).
    pub timestamp: Timestamp,
    /// The same on the time that ages run on, which never goes back: it says which secrets are over.
    pub age: Timestamp,
}

impl Facts<'_> {
    /// Whether the payload is JSON.
    pub fn is_json(&self) -> bool {
        self.content_type.is_none_or(ContentType::is_json)
    }

    /// What the payload is, as a header says it.
    pub fn content_type(&self) -> HeaderValue {
        match self.content_type {
            Some(content_type) => {
                HeaderValue::from_str(content_type.as_str()).expect("it has visible ASCII and spaces")
            }
            None => HeaderValue::from_static(ContentType::JSON),
        }
    }

    /// Writes what `placeholder` stands for to `out`; nothing for body, secret and signatures, which are not
    /// facts but come with the request.
    pub fn write(&self, placeholder: Placeholder, out: &mut String) {
        match placeholder {
            Placeholder::Account => out.push_str(self.account),
            Placeholder::Attempt => display(out, self.attempt),
            Placeholder::DeliveryId => out.push_str(self.delivery_id),
            Placeholder::DeliveryShort => out.push_str(self.delivery_short),
            Placeholder::EndpointId => out.push_str(self.endpoint_id),
            Placeholder::EventId => out.push_str(self.event_id),
            Placeholder::EventTime => display(out, self.event_time),
            Placeholder::EventType => out.push_str(self.event_type),
            Placeholder::Timestamp => display(out, self.timestamp.as_secs()),
            Placeholder::TimestampMs => display(out, self.timestamp.as_millis()),
            Placeholder::Body | Placeholder::Secret | Placeholder::Signature | Placeholder::Signatures => {}
        }
    }
}

fn display(out: &mut String, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("a String takes all");
}

/// An event as good as any, to try templates on.
#[cfg(test)]
pub(crate) mod sample {
    use super::*;

    /// A payload.
    pub(crate) fn data() -> Bytes {
        Bytes::from_static(br#"{"id": "job_1","n":1.50,"list":[1,2,3], "name":"a<b>\"&'"}"#)
    }

    /// Facts with it.
    pub(crate) fn facts(data: &Bytes) -> Facts<'_> {
        Facts {
            event_id: "evt_1",
            delivery_id: "dlv_1",
            delivery_short: "aB3dE6gH",
            endpoint_id: "ep_1",
            event_type: "job.completed",
            account: "default",
            producer_id: Some("order-7"),
            event_time: Timestamp::from_millis(1_709_136_942_007),
            data,
            content_type: None,
            cloud: None,
            attempt: 3,
            timestamp: Timestamp::from_millis(1_709_136_999_123),
            age: Timestamp::from_millis(1_709_136_999_123),
        }
    }
}
