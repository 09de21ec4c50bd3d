//! CloudEvents 1.0: an event with the attributes that its receivers' libraries expect.
//!
//! `structured` is one JSON document with the event's attributes and its `data`, or `data_base64` where that is no JSON (JSON
//! event format, section 3.1); `binary` has them in
//! `ce-…` headers, and the body is the payload as it came (HTTP protocol binding, sections 3.1 and 3.2). `id` is the
//! event's id and the same for every endpoint; with `source` it names an event once, as the specification asks. An event that
//! came as a CloudEvent goes out with the `source`, the `id` and the other attributes that it came with.

use std::{fmt::Write as _, io::Write as _};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::{
    facts::Facts,
    form::{FormProblem, push_base64},
    placeholder::{Pattern, Placeholder},
};
use crate::model::{
    content::ContentType,
    profile::{CloudEventsMode, CloudEventsRule},
};

/// The rule, compiled.
#[derive(Debug)]
pub(super) struct CloudEvents {
    mode: CloudEventsMode,
    source: Pattern,
}

/// What `source` may be made of: nothing that differs between two attempts.
const IN_SOURCE: [Placeholder; 3] = [Placeholder::Account, Placeholder::EventType, Placeholder::EndpointId];

impl CloudEvents {
    pub(super) fn compile(rule: &CloudEventsRule) -> Result<Self, FormProblem> {
        let source = Pattern::parse(&rule.source)?;
        if source.parts().is_empty() || !source.texts().all(|text| text.bytes().all(is_in_uri)) {
            return Err(FormProblem::Source);
        }
        let instead = "there are {account}, {event_type} and {endpoint_id}";
        let misfit = source.placeholders().find(|placeholder| !IN_SOURCE.contains(placeholder));
        match misfit {
            Some(placeholder) => Err(FormProblem::NotHere { placeholder, instead }),
            None => Ok(Self { mode: rule.mode, source }),
        }
    }

    pub(super) fn content_type(&self, facts: &Facts<'_>) -> HeaderValue {
        match self.mode {
            CloudEventsMode::Structured => {
                HeaderValue::from_static("application/cloudevents+json; charset=utf-8")
            }
            CloudEventsMode::Binary => facts.content_type(),
        }
    }

    /// The attributes that go into headers, by the names of these. Of what is ours no value needs the escapes of the binding:
    /// ids, types, accounts and sources are printable ASCII without quotes and percent signs of their own.
    pub(super) fn headers(&self, facts: &Facts<'_>) -> Vec<(HeaderName, String)> {
        if self.mode == CloudEventsMode::Structured {
            return Vec::new();
        }
        let mut headers = vec![
            (HeaderName::from_static("ce-specversion"), "1.0".to_owned()),
            (HeaderName::from_static("ce-type"), facts.event_type.to_owned()),
            (HeaderName::from_static("ce-time"), facts.event_time.to_string()),
        ];
        if let Some(cloud) = facts.cloud {
            headers.extend(
                cloud
                    .values()
                    .iter()
                    .map(|(name, value)| (header_of(name), percent_encode(&value.to_string()))),
            );
        } else {
            headers.push((HeaderName::from_static("ce-id"), facts.event_id.to_owned()));
            headers.push((HeaderName::from_static("ce-source"), self.source(facts)));
        }
        headers
    }

    pub(super) fn body(&self, facts: &Facts<'_>) -> Bytes {
        if self.mode == CloudEventsMode::Binary {
            return facts.data.clone();
        }
        let mut body = Vec::with_capacity(facts.data.len() + 512);
        body.extend_from_slice(br#"{"specversion":"1.0","#);
        if let Some(cloud) = facts.cloud {
            body.extend_from_slice(cloud.members().as_bytes());
        } else {
            push_text(&mut body, r#""id":"#, facts.event_id);
            push_text(&mut body, r#","source":"#, &self.source(facts));
        }
        push_text(&mut body, r#","type":"#, facts.event_type);
        write!(body, r#","time":"{}""#, facts.event_time).expect("a Vec takes all");
        let content_type = facts.content_type.map_or(ContentType::JSON, ContentType::as_str);
        push_text(&mut body, r#","datacontenttype":"#, content_type);
        if facts.is_json() {
            body.extend_from_slice(br#","data":"#);
            body.extend_from_slice(facts.data);
        } else {
            push_base64(&mut body, facts.data);
        }
        body.push(b'}');
        Bytes::from(body)
    }

    fn source(&self, facts: &Facts<'_>) -> String {
        let mut source = String::new();
        self.source.render(&mut source, |placeholder, out| facts.write(placeholder, out));
        source
    }
}

/// Writes `text` as JSON, behind what stands before it.
fn push_text(body: &mut Vec<u8>, before: &str, text: &str) {
    body.extend_from_slice(before.as_bytes());
    serde_json::to_writer(body, text).expect("a str is JSON, and a Vec takes all");
}

fn header_of(attribute: &str) -> HeaderName {
    let name = format!("ce-{attribute}");
    HeaderName::try_from(name).expect("attributes have lower-case letters and digits")
}

/// As the binding asks (section 3.1.3.2): all but visible ASCII, and of that the quote and the percent sign.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'"' && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes all");
        }
    }
    encoded
}

/// What a URI reference (RFC 3986) is made of; a percent sign stands for itself there, and needs no second escape here.
const fn is_in_uri(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b'%')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::policy::facts::sample;

    fn compile(mode: CloudEventsMode, source: &str) -> Result<CloudEvents, FormProblem> {
        CloudEvents::compile(&CloudEventsRule { mode, source: source.to_owned() })
    }

    #[test]
    fn structured() {
        let events = compile(CloudEventsMode::Structured, "/posthaste/{account}").expect("a rule");
        let data = sample::data();
        let body = events.body(&sample::facts(&data));
        let value: Value = serde_json::from_slice(&body).expect("JSON");
        let expected: Value = serde_json::from_slice(&data).expect("JSON");
        assert_eq!(
            value,
            json!({"specversion": "1.0", "id": "evt_1", "source": "/posthaste/default", "type": "job.completed",
                "time": "2024-02-28T16:15:42.007Z", "datacontenttype": "application/json", "data": expected})
        );
        assert!(body.windows(data.len()).any(|part| part == data), "the payload's very bytes");
        assert_eq!(events.content_type(&sample::facts(&data)), "application/cloudevents+json; charset=utf-8");
        assert!(events.headers(&sample::facts(&data)).is_empty());
    }

    #[test]
    fn binary() {
        let events = compile(CloudEventsMode::Binary, "//box.example/{event_type}").expect("a rule");
        let data = sample::data();
        assert_eq!(events.body(&sample::facts(&data)), data);
        assert_eq!(events.content_type(&sample::facts(&data)), "application/json");
        let headers = events.headers(&sample::facts(&data));
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            headers,
            [
                ("ce-specversion", "1.0"),
                ("ce-type", "job.completed"),
                ("ce-time", "2024-02-28T16:15:42.007Z"),
                ("ce-id", "evt_1"),
                ("ce-source", "//box.example/job.completed"),
            ]
        );
    }

    #[test]
    fn what_came_as_one_keeps_its_attributes() {
        let data = sample::data();
        let cloud = r#"{"source":"/s?a=%20","id":"A \"1\"","subject":"é","flag":true,"n":7}"#.parse();
        let cloud = cloud.expect("attributes");
        let facts = Facts { cloud: Some(&cloud), ..sample::facts(&data) };
        let events = compile(CloudEventsMode::Structured, "/posthaste").expect("a rule");
        let value: Value = serde_json::from_slice(&events.body(&facts)).expect("JSON");
        for (name, expected) in [
            ("specversion", json!("1.0")),
            ("source", json!("/s?a=%20")),
            ("id", json!("A \"1\"")),
            ("subject", json!("é")),
            ("flag", json!(true)),
            ("n", json!(7)),
            ("type", json!("job.completed")),
            ("time", json!("2024-02-28T16:15:42.007Z")),
        ] {
            assert_eq!(value[name], expected, "{name}");
        }
        let events = compile(CloudEventsMode::Binary, "/posthaste").expect("a rule");
        let headers = events.headers(&facts);
        let headers: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            headers,
            [
                "ce-specversion: 1.0",
                "ce-type: job.completed",
                "ce-time: 2024-02-28T16:15:42.007Z",
                "ce-flag: true",
                "ce-id: A%20%221%22",
                "ce-n: 7",
                "ce-source: /s?a=%2520",
                "ce-subject: %C3%A9",
            ]
        );
    }

    #[test]
    fn what_is_no_source() {
        for source in ["", "a b", "\"", "ü", "a\nb", "100%", "<x>"] {
            assert_eq!(compile(CloudEventsMode::Binary, source).err(), Some(FormProblem::Source), "{source}");
        }
        let attempt = compile(CloudEventsMode::Binary, "/{attempt}").err();
        assert!(matches!(attempt, Some(FormProblem::NotHere { placeholder: Placeholder::Attempt, .. })));
    }
}
