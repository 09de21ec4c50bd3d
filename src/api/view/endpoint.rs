//! What the routes that change an endpoint answer.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{EndpointView, RequestView, ResponseView};
use crate::model::{
    event::EventType,
    id::{DeliveryId, EndpointId, EventId},
    secret::Secret,
    time::Timestamp,
};

/// A secret that is meant to be read: by whoever asked for it, and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownSecret(pub Secret);

impl Serialize for ShownSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for ShownSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

/// `POST /v1/endpoints`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MadeEndpoint {
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: EndpointView,
    /// What signs its deliveries; `null` where its profile needs no secret.
    pub secret: Option<ShownSecret>,
    /// The key for the receiver, where its profile signs with a private one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// `GET /v1/endpoints/{id}/secret`, `POST …/rotate-secret`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretsView {
    /// The newest.
    pub secret: ShownSecret,
    /// The newest's key for the receiver, where the profile signs with a private one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// All that sign, newest first.
    pub secrets: Vec<SecretView>,
}

/// One of several secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretView {
    /// The secret.
    pub secret: ShownSecret,
    /// The key for the receiver, where the profile signs with a private one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// When it was made; `null` where that is not known, as of the configuration's.
    pub created_at: Option<Timestamp>,
    /// Until when it signs; `null` for the newest.
    pub until: Option<Timestamp>,
}

/// `POST /v1/endpoints/{id}/enable`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnabledEndpoint {
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: EndpointView,
    /// Deliveries that had waited and go on.
    pub resumed: u64,
    /// Deliveries that had waited and are called off.
    pub discarded: u64,
}

/// `DELETE /v1/endpoints/{id}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedEndpoint {
    /// The endpoint.
    pub id: EndpointId,
    /// Deliveries that were pending and are called off.
    pub cancelled: u64,
}

/// `POST /v1/endpoints/{id}/test`: one request outside the store, which counts for nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestView {
    /// The endpoint took it, as its profile sees it.
    pub success: bool,
    /// The id that the event was sent with; there is no such event.
    pub event_id: EventId,
    /// The id that the delivery was sent with; there is no such delivery.
    pub delivery_id: DeliveryId,
    /// The event's type.
    pub event_type: EventType,
    /// When it began.
    pub started_at: Timestamp,
    /// The address dialled.
    pub address: Option<SocketAddr>,
    /// A pooled connection had gone stale and was replaced.
    pub reconnected: bool,
    /// Milliseconds by phase, as of an attempt.
    pub phases: BTreeMap<String, f64>,
    /// What was sent, secrets masked; `null` when nothing could be.
    pub request: Option<RequestView>,
    /// What came back.
    pub response: ResponseView,
}
