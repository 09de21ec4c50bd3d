//! Lines for programs: a JSON object a line.
//!
//! `time`, `level`, `message` and `target` are always there; `kind` and `message_id` where the line has a kind; `fields` has
//! the line's own, by their names, numbers as numbers.

use serde::{Serialize, Serializer};
use tracing::Level;

use super::{
    Kind,
    record::{Record, Value},
};

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'static str>,
    message: &'a str,
    fields: Fields<'a>,
    target: &'static str,
}

struct Fields<'a>(&'a [(&'static str, Value)]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) | Self::Shown(text) => serializer.serialize_str(text),
            Self::Signed(number) => serializer.serialize_i64(*number),
            Self::Unsigned(number) => serializer.serialize_u64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
        }
    }
}

/// The line of a record, with its end; with `priorities` the number of its priority stands before it, as of a text.
pub(super) fn line(record: &Record, priorities: bool) -> String {
    let line = Line {
        time: record.at.to_string(),
        level: level(record.level),
        kind: record.kind.map(Kind::word),
        message_id: record.kind.map(Kind::message_id),
        message: &record.message,
        fields: Fields(&record.fields),
        target: record.source.target,
    };
    let json = serde_json::to_string(&line).expect("texts and numbers are JSON");
    if priorities { format!("<{}>{json}\n", record.priority()) } else { json + "\n" }
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::{super::record::tests::said, *};
    use crate::model::time::Timestamp;

    #[test]
    fn a_line_is_an_object_with_its_fields() {
        let [record] = said(|| {
            tracing::error!(
                kind = Kind::DoorShut.word(),
                text = "a\n\"b\"",
                count = 2,
                flag = true,
                "it\nis so"
            );
        })
        .try_into()
        .expect("one");
        let text = line(&record, false);
        assert_eq!((text.lines().count(), text.ends_with('\n')), (1, true));
        let parsed: Json = serde_json::from_str(&text).expect("JSON");
        let expected = json!({
            "time": Timestamp::RELEASED.to_string(),
            "level": "error",
            "kind": "door_shut",
            "message_id": Kind::DoorShut.message_id(),
            "message": "it\nis so",
            "fields": {"text": "a\n\"b\"", "count": 2, "flag": true},
            "target": module_path!(),
        });
        assert_eq!(parsed, expected);
        assert_eq!(line(&record, true), format!("<3>{text}"));
    }
}
