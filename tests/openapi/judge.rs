//! Holds answers against the document that the daemon shows of itself.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::http::Answer;

/// The document, and which of its answers have been seen.
pub(crate) struct Judge {
    document: Value,
    seen: BTreeSet<(String, u16)>,
}

impl Judge {
    pub(crate) fn new(document: Value) -> Self {
        Self { document, seen: BTreeSet::new() }
    }

    pub(crate) fn document(&self) -> &Value {
        &self.document
    }

    /// Every operation, as `GET /v1/events/{id}`, with the statuses that it may be answered.
    pub(crate) fn promised(&self) -> BTreeSet<(String, u16)> {
        let mut promised = BTreeSet::new();
        for (path, item) in self.document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("operations") {
                let statuses = operation["responses"].as_object().into_iter().flat_map(|all| all.keys());
                let route = format!("{} {path}", method.to_uppercase());
                promised.extend(statuses.map(|status| (route.clone(), status.parse().expect("a status"))));
            }
        }
        promised
    }

    pub(crate) fn seen(&self) -> &BTreeSet<(String, u16)> {
        &self.seen
    }

    /// What is wrong with `value` by the schema at `pointer`.
    pub(crate) fn faults(&self, pointer: &str, value: &Value) -> Vec<String> {
        let schema = self.document.pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer}"));
        // All references in it lead to components.
        let schema = match schema {
            Value::Object(schema) => {
                let mut whole = schema.clone();
                whole.insert("components".to_owned(), self.document["components"].clone());
                Value::Object(whole)
            }
            other => other.clone(),
        };
        let options = jsonschema::options().should_validate_formats(true);
        let validator = options.build(&schema).unwrap_or_else(|error| panic!("{pointer}: {error}"));
        let fault = |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
        validator.iter_errors(value).map(fault).collect()
    }

    /// Holds an answer to `method` of the path `template` against what the document promises of it.
    pub(crate) fn judge(&mut self, method: &str, template: &str, answer: &Answer) {
        let route = format!("{method} {template}");
        let place = format!("/paths/{}/{}", escaped(template), method.to_lowercase());
        let responses = format!("{place}/responses/{}", answer.status);
        let (pointer, response) = self.resolved(&responses);
        let response = response.unwrap_or_else(|| {
            panic!(
                "{route}: {} is not in the document: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            )
        });
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let header = match header["$ref"].as_str() {
                Some(reference) => self.document.pointer(&reference[1..]).expect("it leads somewhere"),
                None => header,
            };
            let given = answer.header(&name.to_lowercase());
            assert!(header["required"] != true || !given.is_empty(), "{route}: no {name}");
            let expected = header.pointer("/schema/const").and_then(Value::as_str);
            assert!(expected.is_none_or(|expected| expected == given), "{route}: {name}: {given}");
        }
        if let Some(content) = response["content"].as_object() {
            let kind = answer.header("content-type");
            assert!(content.contains_key(kind), "{route}: {} as {kind}", answer.status);
            let schema = format!("{pointer}/content/{}/schema", escaped(kind));
            let faults = self.faults(&schema, &answer.json());
            assert!(
                faults.is_empty(),
                "{route}: {}: {}\n{}",
                answer.status,
                faults.join("\n"),
                answer.text()
            );
        } else {
            assert_eq!(answer.body, b"", "{route}: {}", answer.status);
        }
        self.seen.insert((route, answer.status));
    }

    /// What stands at `pointer`, or where it points to, with its place.
    fn resolved(&self, pointer: &str) -> (String, Option<&Value>) {
        let found = self.document.pointer(pointer);
        match found.and_then(|found| found["$ref"].as_str()) {
            Some(reference) => (reference[1..].to_owned(), self.document.pointer(&reference[1..])),
            None => (pointer.to_owned(), found),
        }
    }

    /// Every example in the document, with the place of the schema that it is of.
    pub(crate) fn examples(&self) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        collect(&self.document, "", &mut found);
        found
    }
}

/// Examples of media types beside their `schema`, and those within schemas.
fn collect(value: &Value, place: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(object) => {
            match object.get("examples") {
                Some(Value::Object(named)) => {
                    found.extend(named.values().map(|one| (format!("{place}/schema"), one["value"].clone())));
                }
                Some(Value::Array(items)) => {
                    found.extend(items.iter().map(|one| (place.to_owned(), one.clone())));
                }
                _ => {}
            }
            for (name, value) in object.iter().filter(|(name, _)| *name != "examples") {
                collect(value, &format!("{place}/{}", escaped(name)), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                collect(value, &format!("{place}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// A name as a JSON pointer has it.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
