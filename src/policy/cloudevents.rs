//! CloudEvents 1.0: an event with the attributes that its receivers' libraries expect.
//!
//! `structured` is one JSON document with the event's attributes and its `data`, or `data_base64` where that is no JSON (JSON
//! event format, section 3.1); `binary` has them in
//! `ce-…` headers, and the body is the payload as it came (HTTP protocol binding, sections 3.1 and 3.2). `id` is the
//! event's id and the same for every endpoint; with `source` it names an event once, as the specification asks.

use std::io::Write as _;

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

    /// The attributes that go into headers, by the names of these. No value needs the escapes of the binding: ids, types,
    /// accounts and sources are printable ASCII without quotes and percent signs of their own.
    pub(super) fn headers(&self, facts: &Facts<'_>) -> Vec<(HeaderName, String)> {
        if self.mode == CloudEventsMode::Structured {
            return Vec::new();
        }
        vec![
            (HeaderName::from_static("ce-specversion"), "1.0".to_owned()),
            (HeaderName::from_static("ce-id"), facts.event_id.to_owned()),
            (HeaderName::from_static("ce-source"), self.source(facts)),
            (HeaderName::from_static("ce-type"), facts.event_type.to_owned()),
            (HeaderName::from_static("ce-time"), facts.event_time.to_string()),
        ]
    }

    pub(super) fn body(&self, facts: &Facts<'_>) -> Bytes {
        if self.mode == CloudEventsMode::Binary {
            return facts.data.clone();
        }
        let mut body = Vec::with_capacity(facts.data.len() + 512);
        let source = self.source(facts);
        let (id, name) = (facts.event_id, facts.event_type);
        for (before, value) in
            [(r#"{"specversion":"1.0","id":"#, id), (r#","source":"#, &source), (r#","type":"#, name)]
        {
            body.extend_from_slice(before.as_bytes());
            serde_json::to_writer(&mut body, value).expect("a str is JSON, and a Vec takes all");
        }
        write!(body, r#","time":"{}","datacontenttype":"#, facts.event_time).expect("a Vec takes all");
        let content_type = facts.content_type.map_or(ContentType::JSON, ContentType::as_str);
        serde_json::to_writer(&mut body, content_type).expect("a str is JSON, and a Vec takes all");
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
                ("ce-id", "evt_1"),
                ("ce-source", "//box.example/job.completed"),
                ("ce-type", "job.completed"),
                ("ce-time", "2024-02-28T16:15:42.007Z"),
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
