//! An event as a CloudEvent 1.0: attributes by name, and a payload.
//!
//! As JSON (JSON event format 1.0) both stand in one object; in other bindings whoever reads the attributes gives them to
//! [`Attributes`]. `source` and `id` together are the producer's id, `partitionkey` is the key whose order is kept; `type`
//! and `time` are what they are here.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    InvalidEvent, MAX_PRODUCER_ID, Payload, Written,
    json::{check_depth, describe, refuse_text},
    kind_of_json, no_payload, once, payload, read, shown,
};
use crate::model::{
    account::AccountName,
    cloud::{CloudAttributes, CloudValue},
    content::ContentType,
    event::NewEvent,
};

const SPECVERSION: &str = "specversion";
/// Attributes that are no extensions, or are ours; each is a text.
const TEXTS: [&str; 9] =
    [SPECVERSION, "id", "source", "type", "time", "datacontenttype", "dataschema", "subject", "partitionkey"];

/// The attributes of one event, by their names.
#[derive(Debug, Default)]
pub struct Attributes(BTreeMap<String, CloudValue>);

/// A payload as it was found.
#[derive(Debug)]
pub enum Data {
    /// There is none.
    Missing,
    /// Valid JSON.
    Json(Bytes),
    /// A text, of which nothing else is known.
    Text(String),
    /// Bytes, of which nothing else is known.
    Bytes(Bytes),
}

impl Attributes {
    /// Sets the attribute `name`.
    ///
    /// # Errors
    /// It is there already, or has a value that it cannot have.
    pub fn set(&mut self, name: &str, value: CloudValue) -> Result<(), InvalidEvent> {
        if TEXTS.contains(&name) && !matches!(value, CloudValue::Text(_)) {
            return Err(InvalidEvent::Form(format!("`{name}` must be a text")));
        }
        let mut place = self.0.remove(name);
        once(name, &mut place, value)?;
        self.0.extend(place.map(|value| (name.to_owned(), value)));
        Ok(())
    }

    /// The event that these attributes and `data` are.
    ///
    /// # Errors
    /// A required attribute is missing, or one is not what it must be.
    pub fn into_event(mut self, data: Data, account: &AccountName) -> Result<NewEvent, InvalidEvent> {
        if required(SPECVERSION, self.take(SPECVERSION))? != "1.0" {
            return Err(InvalidEvent::new("`specversion` must be \"1.0\": no other CloudEvents are taken"));
        }
        let event_type = required("type", self.take("type"))?;
        let content_type =
            self.take("datacontenttype").map(|text| read("datacontenttype", &text)).transpose()?;
        let time = self.take("time").map(|text| read("time", &text)).transpose()?;
        // These go on with the event.
        let source = required("source", self.text("source"))?;
        let id = required("id", self.text("id"))?;
        let cloud = CloudAttributes::new(&self.0);
        let written = Written {
            event_type: Some(read("type", &event_type)?),
            id: Some(producer_id(&source, &id)?),
            time,
            key: self.text("partitionkey"),
            cloud: Some(cloud.map_err(|error| InvalidEvent::Form(error.to_string()))?),
            ..Written::default()
        };
        written.into_event(account, make_payload(data, content_type)?)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).map(CloudValue::to_string)
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).map(|value| value.to_string())
    }
}

fn required(name: &str, value: Option<String>) -> Result<String, InvalidEvent> {
    let value = value.filter(|value| !value.is_empty());
    value.ok_or_else(|| {
        InvalidEvent::Form(format!(
            "`{name}` is missing; a CloudEvent has specversion, id, source and type, each a text that is not empty"
        ))
    })
}

/// Both with a blank between: no URI has one, so it is known which is which.
fn producer_id(source: &str, id: &str) -> Result<String, InvalidEvent> {
    if source.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(InvalidEvent::new("`source` must be a URI reference, and has white space"));
    }
    let joined = format!("{source} {id}");
    if joined.chars().count() > MAX_PRODUCER_ID {
        let message = format!(
            "`source` and `id`, which together are the event's id here, have at most {} characters together",
            MAX_PRODUCER_ID - 1
        );
        return Err(InvalidEvent::Form(message));
    }
    Ok(joined)
}

fn make_payload(data: Data, content_type: Option<ContentType>) -> Result<Payload, InvalidEvent> {
    let is_json = content_type.as_ref().is_none_or(ContentType::is_json);
    match data {
        Data::Missing if is_json => Ok((no_payload().0, content_type.and_then(kind_of_json))),
        Data::Missing => Ok((Bytes::new(), content_type)),
        Data::Json(json) if is_json => Ok((json, content_type.and_then(kind_of_json))),
        Data::Json(_) => Err(InvalidEvent::new(
            "`data` must be a text where `datacontenttype` is no JSON; write bytes as `data_base64`",
        )),
        Data::Text(text) => Ok((text.into(), content_type)),
        Data::Bytes(bytes) => payload(bytes, content_type),
    }
}

/// Whether `source` is an object that says it is a CloudEvent.
pub(super) fn is_one(source: &[u8]) -> bool {
    serde_json::from_slice::<Named>(source).is_ok_and(|named| named.0)
}

/// Reads one event in the JSON event format. `source` must be the whole of it.
///
/// # Errors
/// It is no JSON object, or its attributes or its payload are not what they must be.
pub fn parse(source: &Bytes, account: &AccountName) -> Result<NewEvent, InvalidEvent> {
    refuse_text(source)?;
    let Fields { attributes, data, data_base64 } =
        serde_json::from_slice(source).map_err(|error| describe(&error))?;
    let says_json = |text: String| text.parse().is_ok_and(|content_type: ContentType| content_type.is_json());
    let is_json = attributes.text("datacontenttype").is_none_or(says_json);
    let data = match (data, data_base64) {
        (Some(_), Some(_)) => {
            return Err(InvalidEvent::new("there are `data` and `data_base64`; write one of them"));
        }
        (None, None) => Data::Missing,
        (None, Some(text)) => {
            let wrong = |_| InvalidEvent::new("`data_base64` is not base64 (RFC 4648, with padding)");
            Data::Bytes(STANDARD.decode(text.as_bytes()).map_err(wrong)?.into())
        }
        // Of another kind, a text stands for what is in it.
        (Some(data), None) if !is_json && data.get().starts_with('"') => {
            Data::Text(serde_json::from_str(data.get()).map_err(|error| describe(&error))?)
        }
        (Some(data), None) => {
            check_depth(data.get().as_bytes())?;
            Data::Json(source.slice_ref(data.get().as_bytes()))
        }
    };
    attributes.into_event(data, account)
}

/// What stands in an object of the JSON event format.
struct Fields<'a> {
    attributes: Attributes,
    data: Option<&'a RawValue>,
    data_base64: Option<Cow<'a, str>>,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CloudEvent: an object with specversion, id, source and type")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields { attributes: Attributes::default(), data: None, data_base64: None };
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let added = match &*name {
                "data" => once(&name, &mut fields.data, map.next_value()?),
                "data_base64" => text(&name, map.next_value()?)
                    .and_then(|text| text.map_or(Ok(()), |text| once(&name, &mut fields.data_base64, text))),
                _ => attribute(&name, map.next_value()?)
                    .and_then(|value| value.map_or(Ok(()), |value| fields.attributes.set(&name, value))),
            };
            added.map_err(A::Error::custom)?;
        }
        Ok(fields)
    }
}

/// An attribute's value; `None` for null.
fn attribute(name: &str, value: &RawValue) -> Result<Option<CloudValue>, InvalidEvent> {
    let value = value.get();
    let wrong = || InvalidEvent::Form(format!("`{}` must be a text, a boolean or an integer", shown(name)));
    // Before anything is made of it: an array of numbers would be many times its length.
    if value.starts_with(['[', '{']) {
        return Err(wrong());
    }
    serde_json::from_str(value).map_err(|_| wrong())
}

/// The text that `value` is; `None` for null, which stands for nothing (JSON event format, section 2.2).
fn text<'a>(name: &str, value: &'a RawValue) -> Result<Option<Cow<'a, str>>, InvalidEvent> {
    let json = value.get();
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Ok(Some(Cow::Borrowed(plain))),
        Some(_) => serde_json::from_str(json).map(Some).map_err(|error| describe(&error)),
        None if json == "null" => Ok(None),
        None => Err(InvalidEvent::Form(format!("`{name}` must be a text"))),
    }
}

/// Whether an object has the attribute that every CloudEvent has.
struct Named(bool);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamedVisitor)
    }
}

struct NamedVisitor;

impl<'de> Visitor<'de> for NamedVisitor {
    type Value = Named;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut named = false;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            named |= name == SPECVERSION;
            map.next_value::<IgnoredAny>()?;
        }
        Ok(Named(named))
    }
}
