//! `GET /openapi.json`: what the API is, as OpenAPI 3.1.
//!
//! The document is kept by hand, in parts of JSON under `openapi/`: `info`, `common` (what several share), and a part for each
//! tag. A part has `paths` and `components` as they stand in the document, but for one thing: an operation names the problems
//! that it answers by their codes alone, as `problems`. What they are stands once, in `problems.json`; here they become
//! `responses`, one for each status, with an example of each code. Those that any request may be answered are added to all, and
//! so is the header with the request's id.
//!
//! The tests hold the document against the routes and the codes in the sources; `tests/openapi.rs` holds what the daemon
//! answers against it.

use std::{collections::BTreeMap, sync::LazyLock};

use axum::{
    body::Body,
    extract::RawQuery,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{problem::Problem, query::Query};

const INFO: &str = include_str!("openapi/info.json");
const PROBLEMS: &str = include_str!("openapi/problems.json");
const PARTS: [&str; 9] = [
    include_str!("openapi/common.json"),
    include_str!("openapi/events.json"),
    include_str!("openapi/deliveries.json"),
    include_str!("openapi/endpoints.json"),
    include_str!("openapi/jobs.json"),
    include_str!("openapi/accounts.json"),
    include_str!("openapi/keys.json"),
    include_str!("openapi/machine.json"),
    include_str!("openapi/status.json"),
];

/// What whoever connects may be answered, whatever they ask.
const EVERYWHERE: [&str; 5] = ["not_allowed", "host_not_allowed", "quota_exceeded", "busy", "groups_unknown"];
/// And where over TCP a key has to be shown.
const WITH_KEY: [&str; 8] = [
    "bad_request",
    "key_required",
    "key_malformed",
    "key_unknown",
    "key_expired",
    "account_not_allowed",
    "too_many_failures",
    "starting",
];
/// An example of a request's id.
const REQUEST: &str = "req_01m8q7vppbey7vpabta9dxvs0z";
/// With these `Retry-After` comes.
const PASSING: [u16; 4] = [408, 429, 503, 507];

/// A kind of problem.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    status: u16,
    why: String,
    /// An example of what is said.
    detail: String,
    /// And of what stands beside it, if something does.
    errors: Option<Value>,
}

type Kinds = BTreeMap<String, Kind>;

/// What is sent, and what it is known by; made once, when somebody asks first.
struct Served {
    body: Vec<u8>,
    tag: HeaderValue,
}

/// Shows the document; 304 to whoever has it.
pub(super) async fn show(RawQuery(query): RawQuery, headers: HeaderMap) -> Result<Response<Body>, Problem> {
    static SERVED: LazyLock<Served> = LazyLock::new(Served::make);
    Query::read(query.as_deref(), &[])?;
    let Served { body, tag } = &*SERVED;
    let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|given| names(given, tag));
    let (status, body) = if known {
        (StatusCode::NOT_MODIFIED, Body::empty())
    } else {
        (StatusCode::OK, Body::from(body.as_slice()))
    };
    let response = Response::builder().status(status).header(header::ETAG, tag);
    let response = response.header(header::CONTENT_TYPE, "application/json");
    Ok(response.body(body).expect("a status and constant headers"))
}

/// Whether `If-None-Match` has `tag` in it; that a proxy calls it weak makes no difference.
fn names(given: &HeaderValue, tag: &HeaderValue) -> bool {
    let tag = tag.to_str().unwrap_or_default();
    let tags = given.to_str().unwrap_or_default().split(',').map(str::trim);
    tags.into_iter().any(|given| given == "*" || given.trim_start_matches("W/") == tag)
}

impl Served {
    fn make() -> Self {
        let mut body = serde_json::to_vec(&document()).expect("a document is JSON");
        body.push(b'\n');
        let digest = hex::encode(&Sha256::digest(&body)[..16]);
        let tag = HeaderValue::try_from(format!("\"{digest}\"")).expect("hexadecimal digits");
        Self { body, tag }
    }
}

/// The document.
pub fn document() -> Value {
    let mut document = part(INFO);
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    let kinds = kinds();
    for text in PARTS {
        let mut part = part(text);
        let paths = part.get_mut("paths").and_then(Value::as_object_mut);
        for item in paths.into_iter().flat_map(Map::values_mut) {
            operations(item).for_each(|operation| spell_out(operation, &kinds));
        }
        merge(&mut document, part);
    }
    identify(&mut document);
    document
}

fn part(text: &str) -> Value {
    serde_json::from_str(text).expect("the parts are JSON, as the tests show")
}

fn kinds() -> Kinds {
    serde_json::from_str(PROBLEMS).expect("the problems are of this form, as the tests show")
}

/// The operations of a path.
fn operations(item: &mut Value) -> impl Iterator<Item = &mut Value> {
    let entries = item.as_object_mut().into_iter().flatten();
    entries.filter(|(name, _)| *name != "parameters").map(|(_, operation)| operation)
}

/// Puts the responses in the place of an operation's `problems`.
fn spell_out(operation: &mut Value, kinds: &Kinds) {
    let named = operation.as_object_mut().and_then(|operation| operation.remove("problems"));
    let named = named.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str);
    let mut by_status: BTreeMap<u16, BTreeMap<&str, &Kind>> = BTreeMap::new();
    // What everybody may ask says so itself.
    let with_key = if operation.get("security").is_none() { &WITH_KEY[..] } else { &[] };
    for code in named.chain(EVERYWHERE).chain(with_key.iter().copied()) {
        let (code, kind) = kinds.get_key_value(code).expect("what is named is described, as the tests show");
        by_status.entry(kind.status).or_default().insert(code, kind);
    }
    for (status, kinds) in by_status {
        operation["responses"][status.to_string()] = response(status, &kinds);
    }
}

fn response(status: u16, kinds: &BTreeMap<&str, &Kind>) -> Value {
    let lines = kinds.iter().map(|(code, kind)| format!("- `{code}`: {}", kind.why));
    let codes: Vec<_> = kinds.keys().collect();
    let examples =
        kinds.iter().map(|(code, kind)| ((*code).to_owned(), json!({"value": example(code, kind)})));
    let schema = json!({"allOf": [
        {"$ref": "#/components/schemas/Problem"},
        {"properties": {"status": {"const": status}, "code": {"enum": codes}}},
    ]});
    let content = json!({"schema": schema, "examples": examples.collect::<Map<_, _>>()});
    let mut response = json!({
        "description": lines.collect::<Vec<_>>().join("\n"),
        "content": {"application/problem+json": content},
    });
    if PASSING.contains(&status) {
        response["headers"]["Retry-After"] = json!({"$ref": "#/components/headers/RetryAfter"});
    }
    if status == 401 {
        response["headers"]["WWW-Authenticate"] = json!({"$ref": "#/components/headers/Challenge"});
    }
    response
}

/// Every answer has the request's id.
fn identify(document: &mut Value) {
    let mark = |response: &mut Value| {
        if response.get("$ref").is_none() {
            response["headers"]["X-Request-Id"] = json!({"$ref": "#/components/headers/RequestId"});
        }
    };
    let responses = |place: &mut Value| {
        place
            .get_mut("responses")
            .and_then(Value::as_object_mut)
            .into_iter()
            .flat_map(Map::values_mut)
            .for_each(mark);
    };
    responses(&mut document["components"]);
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    paths.flat_map(operations).for_each(responses);
}

fn example(code: &str, kind: &Kind) -> Value {
    let status = StatusCode::from_u16(kind.status).ok();
    let title = status.and_then(|status| status.canonical_reason()).unwrap_or("Error");
    let mut example = json!({
        "type": format!("urn:posthaste:problem:{code}"),
        "title": title,
        "status": kind.status,
        "detail": kind.detail,
        "code": code,
        "request_id": REQUEST,
    });
    if let Some(errors) = &kind.errors {
        example["errors"] = errors.clone();
    }
    example
}

/// Adds what `more` has, objects into objects.
fn merge(document: &mut Value, more: Value) {
    match (document, more) {
        (Value::Object(have), Value::Object(more)) => {
            for (name, value) in more {
                merge(have.entry(name).or_insert(Value::Null), value);
            }
        }
        (place, more) => *place = more,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;
    use crate::api::routes;

    /// `GET /v1/events/{id}` and so on, as the document has them.
    fn described(document: &Value) -> Vec<String> {
        let paths = document["paths"].as_object().expect("paths");
        let of = |(path, item): (&String, &Value)| {
            let methods = item.as_object().expect("operations").keys().filter(|name| *name != "parameters");
            methods.map(|method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
        };
        paths.iter().flat_map(of).collect()
    }

    #[test]
    fn every_route_has_an_operation_and_the_reverse() {
        let mut routes: Vec<_> =
            routes::all().map(|route| format!("{} {}", route.method, route.path)).collect();
        routes.sort();
        let mut described = described(&document());
        described.sort();
        assert_eq!(described, routes);
    }

    #[test]
    fn no_part_takes_another_s_place() {
        let names = |text: &str| {
            let part = part(text);
            let components = part["components"].as_object().expect("components").iter();
            let inner = components.flat_map(|(kind, named)| {
                let names = named.as_object().expect("by name").keys();
                names.map(|name| format!("{kind}/{name}")).collect::<Vec<_>>()
            });
            let paths = part.get("paths").and_then(Value::as_object).into_iter().flat_map(Map::keys).cloned();
            inner.chain(paths).collect::<Vec<_>>()
        };
        let mut seen = BTreeSet::new();
        for name in PARTS.into_iter().flat_map(names) {
            assert!(seen.insert(name.clone()), "{name} is there twice");
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_component_is_used() {
        fn walk<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
            match value {
                Value::Object(object) => {
                    found.extend(object.get("$ref").and_then(Value::as_str));
                    object.values().for_each(|value| walk(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
                _ => {}
            }
        }
        let mut document = document();
        let schemes = document["components"].as_object_mut().expect("components").remove("securitySchemes");
        let schemes = schemes.expect("how one shows who one is");
        let needed = document["security"].as_array().expect("ways to be let in").iter();
        let needed: BTreeSet<_> = needed.flat_map(|way| way.as_object().expect("a way").keys()).collect();
        assert_eq!(needed, schemes.as_object().expect("by name").keys().collect());
        let mut used = BTreeSet::new();
        walk(&document, &mut used);
        for reference in &used {
            let place = reference.strip_prefix('#').expect("within the document");
            assert!(document.pointer(place).is_some(), "{reference} leads nowhere");
        }
        for (kind, named) in document["components"].as_object().expect("components") {
            for name in named.as_object().expect("by name").keys() {
                let reference = format!("#/components/{kind}/{name}");
                assert!(used.contains(reference.as_str()), "nothing uses {reference}");
            }
        }
    }

    /// All sources beneath `directory`, without their tests.
    fn sources(directory: &Path) -> String {
        let mut all = String::new();
        for entry in fs::read_dir(directory).expect("a directory of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                all += &sources(&path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("it is there");
                all += text.split("#[cfg(test)]").next().unwrap_or_default();
            }
        }
        all
    }

    /// The words in quotes that come next after each `before`.
    fn quoted_after<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
        text.split(before).skip(1).filter_map(|rest| rest.strip_prefix('"')?.split('"').next()).collect()
    }

    /// Every code that the sources can answer: of problems, and of refusals.
    fn codes() -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let compact = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(");
        let api = compact(sources(&root.join("api")));
        let mut found: BTreeSet<String> = BTreeSet::new();
        for status in 400..600 {
            let Some(name) = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason())
            else {
                continue;
            };
            let name = name.to_uppercase().replace([' ', '-'], "_").replace('\'', "");
            found.extend(quoted_after(&api, &format!("StatusCode::{name}, ")).into_iter().map(str::to_owned));
        }
        for before in ["code: ", "conflict("] {
            found.extend(quoted_after(&api, before).into_iter().map(str::to_owned));
        }
        let gate = fs::read_to_string(root.join("api/gate.rs")).expect("it is there");
        let (_, words) = gate.split_once("fn from(why: Unadmitted)").expect("why somebody is not let in");
        let (words, _) = words.split_once("#[cfg(test)]").expect("its end");
        found.extend(quoted_after(words, "=> ").into_iter().map(str::to_owned));
        let answer = fs::read_to_string(root.join("ingest/answer.rs")).expect("it is there");
        let (_, words) = answer.split_once("pub const fn as_str").expect("the codes' words");
        let (words, _) =
            words.split_once("pub const fn").or_else(|| words.split_once("const fn")).expect("its end");
        found.extend(quoted_after(words, "=> ").into_iter().map(str::to_owned));
        found
    }

    #[test]
    fn every_code_in_the_sources_is_described_and_the_reverse() {
        let described: BTreeSet<_> = kinds().into_keys().collect();
        let codes = codes();
        assert!(codes.len() > 30, "the sources are not read as they are written any more: {codes:?}");
        assert_eq!(described, codes);
    }

    #[test]
    fn every_code_is_some_operation_s_or_no_operation_can_answer_it() {
        let elsewhere = [
            // Of a path that is none, or of a method that a path does not take: of no operation.
            "method_not_allowed",
            // On streams and of spool files alone.
            "file_too_large",
            "unknown_dialect",
            "unterminated_item",
            "unterminated_line",
        ];
        let mut named: BTreeSet<_> =
            EVERYWHERE.into_iter().chain(WITH_KEY).chain(elsewhere).map(str::to_owned).collect();
        for text in PARTS {
            let part = part(text);
            let items = part.get("paths").and_then(Value::as_object).into_iter().flat_map(Map::values);
            let operations = items.flat_map(|item| item.as_object().expect("operations").values());
            let lists = operations.filter_map(|operation| operation.get("problems")?.as_array());
            named.extend(lists.flatten().map(|code| code.as_str().expect("a word").to_owned()));
        }
        assert_eq!(named, kinds().into_keys().collect());
    }

    #[test]
    fn the_words_in_it_are_whole() {
        for (_, Kind { status, why, detail, errors: _ }) in kinds() {
            assert!((400..600).contains(&status) && !why.is_empty() && !detail.is_empty());
        }
        let document = document();
        for item in document["paths"].as_object().expect("paths").values() {
            for (method, operation) in item.as_object().expect("operations") {
                if method != "parameters" {
                    assert!(
                        operation["operationId"].is_string() && operation["summary"].is_string(),
                        "{operation}"
                    );
                    assert!(operation.get("problems").is_none());
                }
            }
        }
        let again = Served::make();
        assert_eq!((again.body, again.tag.clone()), (Served::make().body, Served::make().tag));
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        let tag = HeaderValue::from_static("\"ab\"");
        for (given, known) in [
            ("\"ab\"", true),
            ("W/\"ab\"", true),
            ("\"x\", \"ab\"", true),
            ("*", true),
            ("\"x\"", false),
            ("ab", false),
        ] {
            assert_eq!(names(&HeaderValue::from_static(given), &tag), known, "{given}");
        }
    }

    /// The manual of the API.
    fn manual() -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
        fs::read_to_string(path).expect("docs/api.md")
    }

    /// What stands in backquotes.
    fn quoted(text: &str) -> impl Iterator<Item = &str> {
        text.split('`').skip(1).step_by(2)
    }

    #[test]
    fn the_manual_has_every_route_and_no_other() {
        let manual = manual();
        let methods = ["GET ", "POST ", "PATCH ", "DELETE "];
        let is_route =
            |text: &&str| methods.iter().any(|method| text.starts_with(method)) && text.contains(" /");
        let named: BTreeSet<_> = quoted(&manual).filter(is_route).map(str::to_owned).collect();
        let routes: BTreeSet<_> =
            routes::all().map(|route| format!("{} {}", route.method, route.path)).collect();
        assert_eq!(named, routes);
    }

    #[test]
    fn the_manual_s_tables_have_every_code_with_its_status() {
        let manual = manual();
        let mut tables: BTreeMap<&str, BTreeSet<u16>> = BTreeMap::new();
        let mut in_table = false;
        for line in manual.lines() {
            in_table = line.starts_with("| status | code |") || (in_table && line.starts_with('|'));
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let Some(status) = cells.get(1).filter(|_| in_table).and_then(|cell| cell.parse().ok()) else {
                continue;
            };
            for code in quoted(cells[2]) {
                tables.entry(code).or_default().insert(status);
            }
        }
        let kinds = kinds();
        let described: BTreeMap<_, _> =
            kinds.iter().map(|(code, kind)| (code.as_str(), BTreeSet::from([kind.status]))).collect();
        assert_eq!(tables, described);
    }

    #[test]
    fn the_operators_page_says_of_every_code_what_to_do() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
        let page = fs::read_to_string(path).expect("docs/operations.md");
        let (_, table) = page.split_once("\n| code | status |").expect("its table");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let rows: Vec<(&str, u16)> = rows
            .map(|row| {
                let cells: Vec<_> = row.split('|').map(str::trim).collect();
                (cells[1].trim_matches('`'), cells[2].parse().expect("a status"))
            })
            .collect();
        assert!(rows.is_sorted() && !rows.is_empty(), "they are found by their names");
        for (code, Kind { status, .. }) in kinds() {
            assert!(rows.contains(&(&*code, status)), "{code} {status}");
        }
        let codes = codes();
        for code in &codes {
            assert!(rows.iter().any(|(have, _)| have == code), "{code}");
        }
        let manual = manual();
        for (code, _) in rows {
            assert!(
                codes.contains(code) || quoted(&manual).any(|word| word == code),
                "nobody answers {code}"
            );
        }
    }
}
