//! Walks the tree as written against the table of keys: names nobody knows, and tables where values belong and the
//! other way round. Values themselves are read in `read`.

use std::ops::Range;

use super::{
    error::Problems,
    keys::{self, ANY, Kind, Known},
    raw::{Entry, Node, Table, Value},
    source::Place,
};
use crate::policy::nearest;

/// Notes everything in `document` that is not as the table of keys says.
pub(super) fn check(document: &Table, problems: &mut Problems) {
    Walk { problems }.table("", "", document);
}

/// What an unknown name is answered with: the nearest of those known, and all of them.
pub(super) fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.into_iter().collect();
    let list = format!("known here: {}", known.join(", "));
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {list}"),
        None => list,
    }
}

/// The places of values in `document` that may be secret: what a key for secrets has, unless it only says where the
/// secret is, and what stands under names that nobody knows where these may be misspelt keys for secrets.
pub(super) fn secrets(document: &Table) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    find_secrets("", document, &mut found);
    found
}

struct Walk<'a> {
    problems: &'a mut Problems,
}

impl Walk<'_> {
    /// `at` is the table's path in the table of keys, `shown` as the writer knows it.
    fn table(&mut self, at: &str, shown: &str, table: &Table) {
        for (name, entry) in &table.entries {
            let path = if shown.is_empty() { name.clone() } else { format!("{shown}.{name}") };
            match keys::known(at, name) {
                Some(Known::Key(_)) => {}
                Some(Known::Table(below, section)) => {
                    let repeated = section.is_some_and(|section| section.repeated);
                    self.section(below, &path, repeated, entry);
                }
                None => {
                    let what = if matches!(entry.node.value, Value::Table(_)) { "section" } else { "key" };
                    let help = suggest(name, keys::names(at));
                    self.problems.add(entry.key, format!("unknown {what} `{path}`"), help);
                }
            }
        }
    }

    fn section(&mut self, at: &str, path: &str, repeated: bool, entry: &Entry) {
        match &entry.node.value {
            Value::Table(table) if !repeated => self.table(at, path, table),
            Value::Array(items) if repeated => {
                for item in items {
                    match &item.value {
                        Value::Table(table) => self.table(at, path, table),
                        other => self.no_section(path, repeated, item.place, other),
                    }
                }
            }
            Value::Table(_) => {
                let message = format!("`{path}` may be there several times");
                self.problems.add(entry.key, message, format!("write `[[{path}]]`, in double brackets"));
            }
            other => self.no_section(path, repeated, entry.key, other),
        }
    }

    fn no_section(&mut self, path: &str, repeated: bool, place: Place, value: &Value) {
        let header = if repeated { format!("[[{path}]]") } else { format!("[{path}]") };
        let message = format!("`{path}` is a section, not {}", value.kind());
        self.problems.add(place, message, format!("write `{header}` and its keys below it"));
    }
}

fn find_secrets(at: &str, table: &Table, found: &mut Vec<Range<usize>>) {
    // A name that nobody knows beside a key for secrets may be that key, misspelt; of a table that nobody knows, or
    // that stands where none is expected, nothing can be said.
    let beside = keys::section(at).is_some_and(|s| s.keys.iter().any(|key| key.kind.is_secret()));
    for (name, Entry { node, .. }) in &table.entries {
        match (keys::known(at, name), &node.value) {
            (Some(Known::Table(below, _)), Value::Table(table)) => find_secrets(below, table, found),
            (Some(Known::Table(below, _)), Value::Array(items)) => {
                for item in items {
                    match &item.value {
                        Value::Table(table) => find_secrets(below, table, found),
                        _ => hide(item, found),
                    }
                }
            }
            (Some(Known::Key(key)), _) if key.kind.is_secret() => hide_secret(node, found),
            (Some(Known::Key(key)), Value::String(url)) if matches!(key.kind, Kind::Proxy | Kind::Url) => {
                if url.contains('@') {
                    hide(node, found);
                }
            }
            (None, Value::String(_)) if !beside => {}
            (None | Some(Known::Table(..)), _) | (Some(Known::Key(_)), Value::Table(_)) => hide(node, found),
            (Some(Known::Key(_)), _) => {}
        }
    }
}

fn hide_secret(node: &Node, found: &mut Vec<Range<usize>>) {
    let only_where = |text: &str| text.starts_with(super::credential::PREFIX);
    if !matches!(&node.value, Value::String(text) if only_where(text)) {
        hide(node, found);
    }
}

/// Hides a value and what is in it.
fn hide(node: &Node, found: &mut Vec<Range<usize>>) {
    match &node.value {
        Value::Array(items) => items.iter().for_each(|item| hide(item, found)),
        Value::Table(table) => table.entries.values().for_each(|entry| hide(&entry.node, found)),
        _ => found.push(node.place.start..node.place.end),
    }
}

/// From which byte on a line must not be shown of a file that is no TOML, so that nothing is known of its values. `None`:
/// its keys are all known, and none of them is for secrets; else what stands behind the first `=` or quote may be one.
pub(super) fn hidden_in_broken_line(line: &str) -> Option<usize> {
    let keys: Vec<_> = line.split('=').rev().skip(1).map(last_name).collect();
    let harmless = if keys.is_empty() { !line.contains(QUOTES) } else { keys.into_iter().all(is_harmless) };
    if harmless {
        return None;
    }
    line.find(|c| c == '=' || QUOTES.contains(&c))
        .map(|at| if line[at..].starts_with('=') { at + 1 } else { at })
}

const QUOTES: [char; 2] = ['"', '\''];

/// The key that `text`, what stands before a `=`, ends with: its last segment.
fn last_name(text: &str) -> &str {
    let between = |c: char| c.is_whitespace() || QUOTES.contains(&c) || ".,{".contains(c);
    text.trim_end_matches(between).rsplit(between).next().unwrap_or_default()
}

/// Whether `name` is a key, and nowhere one for secrets.
fn is_harmless(name: &str) -> bool {
    let keys = || {
        keys::SECTIONS.iter().flat_map(|section| section.keys).filter(|key| key.name == name && name != ANY)
    };
    keys().next().is_some()
        && keys().all(|key| !key.kind.is_secret() && !matches!(key.kind, Kind::Proxy | Kind::Url))
}
