//! Readers: the values of one table, each by its key's kind and bounds, with the key's default where it is not given.

use std::{
    net::IpAddr,
    num::{NonZeroU32, NonZeroU64},
    ops::{Range, RangeInclusive},
    time::Duration,
};

use ipnet::IpNet;
use toml::de::DeValue;

use super::{
    error::{Problems, Reported},
    keys::{self, Fallback, Key, Kind, MAX_RATE, Section},
    raw::{Node, Table, Value, node},
    shape::suggest,
    source::{Place, Sources},
};
use crate::model::{
    profile::{Rate, Success},
    quota::Throughput,
    time::{ParseQuantityError, parse_duration, parse_size},
};

/// Why a value is not what its key takes.
#[derive(Debug)]
pub(super) struct Fault {
    /// A clause whose subject is the key: `is not a size`.
    what: String,
    /// What to write instead; `None`: what the key takes.
    help: Option<String>,
    /// The item that it is about, where the value is a list.
    item: Option<Place>,
}

impl Fault {
    /// A fault and what to write instead.
    pub(super) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: Some(help.into()), item: None }
    }

    /// A fault that is answered with what the key takes.
    fn plain(what: impl Into<String>) -> Self {
        Self { what: what.into(), help: None, item: None }
    }

    /// The same fault, of an item of a list.
    pub(super) fn at(self, item: Place) -> Self {
        Self { item: Some(item), ..self }
    }
}

/// One table, with the section that says what is in it.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    section: &'static Section,
    /// What stands for `NAME` in the section's path.
    name: Option<&'a str>,
    table: Option<&'a Table>,
    /// Where the table begins, for what is missing in it.
    header: Option<Place>,
}

impl<'a> Fields<'a> {
    /// The table that `node` is; without one every key has its default.
    ///
    /// # Panics
    /// No section has this path.
    pub(super) fn new(path: &str, node: Option<&'a Node>) -> Result<Self, Reported> {
        let section = keys::section(path).expect("callers name a section of the table of keys");
        match node.map(|node| (&node.value, node.place)) {
            None => Ok(Self { section, name: None, table: None, header: None }),
            Some((Value::Table(table), place)) => {
                Ok(Self { section, name: None, table: Some(table), header: Some(place) })
            }
            // The walk over the tree has noted it.
            Some(_) => Err(Reported),
        }
    }

    /// The same table, with `name` for the `NAME` in its section's path.
    pub(super) fn named(self, name: &'a str) -> Self {
        Self { name: Some(name), ..self }
    }

    /// A key's value as written, if it is given.
    pub(super) fn node(self, name: &str) -> Option<&'a Node> {
        self.table?.get(name)
    }

    /// A key's value, read by `read`.
    pub(super) fn get<T>(
        self,
        problems: &mut Problems,
        name: &str,
        read: impl FnOnce(&Key, &Node) -> Result<T, Fault>,
    ) -> Result<T, Reported> {
        let key = self.key(name);
        match (self.node(name), &key.fallback) {
            (Some(node), _) => read(key, node).map_err(|fault| self.report(problems, key, node, fault)),
            (None, Fallback::Value(text)) => {
                let value = DeValue::parse(text).expect("defaults in the table of keys are TOML");
                Ok(read(key, &node(0, &value)).expect("defaults in the table of keys are valid"))
            }
            (None, Fallback::Required | Fallback::Else(_)) => Err(self.missing(problems, key)),
        }
    }

    /// A key's value, read by `read`; `None` where it is not given.
    pub(super) fn given<T>(
        self,
        problems: &mut Problems,
        name: &str,
        read: impl FnOnce(&Key, &Node) -> Result<T, Fault>,
    ) -> Result<Option<T>, Reported> {
        self.node(name).map(|_| self.get(problems, name, read)).transpose()
    }

    /// Notes that `node`, the value of `name`, is wrong.
    pub(super) fn wrong(self, problems: &mut Problems, name: &str, node: &Node, fault: Fault) -> Reported {
        self.report(problems, self.key(name), node, fault)
    }

    fn key(self, name: &str) -> &'static Key {
        let key = |name| self.section.keys.iter().find(|key| key.name == name);
        key(name).or_else(|| key(keys::ANY)).expect("callers name a key of the section")
    }

    fn report(self, problems: &mut Problems, key: &Key, node: &Node, fault: Fault) -> Reported {
        let place = fault.item.unwrap_or(node.place);
        let help = fault.help.unwrap_or_else(|| format!("write {}", key.kind.expected()));
        problems.add(place, format!("`{}` {}", self.name_of(key), fault.what), help)
    }

    fn missing(self, problems: &mut Problems, key: &Key) -> Reported {
        // A table that is not there has no keys that must be.
        let Some(header) = self.header else { return Reported };
        let help = format!("add `{} = …`: {}", key.name, key.kind.expected());
        problems.add(header, format!("`{}` is missing", self.name_of(key)), help)
    }

    /// `endpoint.url`; of a table of names, the table.
    fn name_of(self, key: &Key) -> String {
        let path = self.section.path.replacen(keys::ANY, self.name.unwrap_or(keys::ANY), 1);
        if key.name == keys::ANY { path } else { format!("{path}.{}", key.name) }
    }
}

/// A text.
pub(super) fn text(_: &Key, node: &Node) -> Result<String, Fault> {
    string(node).map(str::to_owned)
}

/// A list of texts.
pub(super) fn texts(_: &Key, node: &Node) -> Result<Vec<String>, Fault> {
    let text = |item| string(item).map(str::to_owned).map_err(|fault| in_list(fault, item));
    list(node)?.iter().map(text).collect()
}

/// A text that is not empty and has no NUL in it: a path.
pub(super) fn path(_: &Key, node: &Node) -> Result<String, Fault> {
    let text = string(node)?;
    if text.is_empty() || text.contains('\0') {
        Err(Fault::plain("is not a path"))
    } else {
        Ok(text.to_owned())
    }
}

/// A name of 1 to 64 characters.
pub(super) fn name(_: &Key, node: &Node) -> Result<String, Fault> {
    let text = string(node)?;
    if is_name(text) { Ok(text.to_owned()) } else { Err(Fault::plain("is not a name")) }
}

/// Whether `text` is 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// `true` or `false`.
pub(super) fn boolean(_: &Key, node: &Node) -> Result<bool, Fault> {
    match node.value {
        Value::Boolean(value) => Ok(value),
        ref other => Err(wrong_kind(other)),
    }
}

/// A whole number within the key's bounds.
pub(super) fn integer(key: &Key, node: &Node) -> Result<u64, Fault> {
    let Kind::Integer(bounds) = &key.kind else { unreachable!("{} is read as an integer", key.name) };
    match node.value {
        Value::Integer(Some(value)) => within(bounds, u64::try_from(value).ok()),
        Value::Integer(None) => within(bounds, None),
        ref other => Err(wrong_kind(other)),
    }
}

/// A size within the key's bounds, in bytes.
pub(super) fn size(key: &Key, node: &Node) -> Result<u64, Fault> {
    let Kind::Size(bounds) = &key.kind else { unreachable!("{} is read as a size", key.name) };
    match parse_size(string(node)?) {
        Ok(value) => within(bounds, Some(value)),
        Err(ParseQuantityError::TooLarge) => within(bounds, None),
        Err(_) => Err(Fault::plain("is not a size")),
    }
}

/// A duration within the key's bounds.
pub(super) fn duration(key: &Key, node: &Node) -> Result<Duration, Fault> {
    let Kind::Duration(bounds) = &key.kind else { unreachable!("{} is read as a duration", key.name) };
    duration_within(bounds, node)
}

fn duration_within(bounds: &RangeInclusive<Duration>, node: &Node) -> Result<Duration, Fault> {
    match parse_duration(string(node)?) {
        Ok(value) => within(bounds, Some(value)),
        Err(ParseQuantityError::TooLarge) => within(bounds, None),
        Err(_) => Err(Fault::plain("is not a duration")),
    }
}

/// 1 to 255 durations within the key's bounds.
pub(super) fn schedule(key: &Key, node: &Node) -> Result<Vec<Duration>, Fault> {
    let Kind::Schedule(bounds) = &key.kind else { unreachable!("{} is read as a schedule", key.name) };
    let items = list(node)?;
    if !(1..=255).contains(&items.len()) {
        return Err(Fault::plain(format!("has {} entries", items.len())));
    }
    items.iter().map(|item| duration_within(bounds, item).map_err(|fault| in_list(fault, item))).collect()
}

/// So many in a second, minute or hour.
pub(super) fn rate(_: &Key, node: &Node) -> Result<Rate, Fault> {
    let wrong = || Fault::plain("is not a rate");
    let (count, per) = in_a_time(node)?.ok_or_else(wrong)?;
    if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let count = count.parse().ok().filter(|count| *count <= MAX_RATE).and_then(NonZeroU32::new);
    count.map(|count| Rate { count, per }).ok_or_else(out_of_bounds)
}

/// So many bytes in a second, minute or hour, the size within the key's bounds.
pub(super) fn throughput(key: &Key, node: &Node) -> Result<Throughput, Fault> {
    let Kind::Throughput(bounds) = &key.kind else { unreachable!("{} is read as a throughput", key.name) };
    let wrong = || Fault::plain("is not a size in a time");
    let (size, per) = in_a_time(node)?.ok_or_else(wrong)?;
    let bytes = match parse_size(size) {
        Ok(size) => within(bounds, Some(size))?,
        Err(ParseQuantityError::TooLarge) => return Err(out_of_bounds()),
        Err(_) => return Err(wrong()),
    };
    NonZeroU64::new(bytes).map(|bytes| Throughput { bytes, per }).ok_or_else(out_of_bounds)
}

/// What stands before `/s`, `/m` or `/h`, and that time; `None` where none of them stands at the end.
fn in_a_time(node: &Node) -> Result<Option<(&str, Duration)>, Fault> {
    let time = |(amount, unit)| match unit {
        "s" => Some((amount, Duration::from_secs(1))),
        "m" => Some((amount, Duration::from_secs(60))),
        "h" => Some((amount, Duration::from_secs(3_600))),
        _ => None,
    };
    Ok(string(node)?.split_once('/').and_then(time))
}

/// A number from 0 to 1.
pub(super) fn fraction(_: &Key, node: &Node) -> Result<f64, Fault> {
    let value = match node.value {
        Value::Float(value) => value,
        Value::Integer(Some(0)) => 0.0,
        Value::Integer(Some(1)) => 1.0,
        Value::Integer(_) => f64::NAN,
        ref other => return Err(wrong_kind(other)),
    };
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(out_of_bounds()) }
}

/// Permissions in octal.
pub(super) fn mode(_: &Key, node: &Node) -> Result<u32, Fault> {
    let text = string(node)?;
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    match u32::from_str_radix(text, 8) {
        Ok(mode) if octal && mode <= 0o777 => Ok(mode),
        _ => Err(Fault::plain("is not a mode")),
    }
}

/// One of the key's words, as `from` knows it.
pub(super) fn choice<T: Copy>(
    from: &'static [(&'static str, T)],
) -> impl FnOnce(&Key, &Node) -> Result<T, Fault> {
    move |key, node| {
        let Kind::Choice(words) = &key.kind else { unreachable!("{} is read as a choice", key.name) };
        let text = string(node)?;
        match from.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => Err(Fault::new("has an unknown value", suggest(text, words.iter().copied()))),
        }
    }
}

/// `"2xx"` or status codes.
pub(super) fn success(_: &Key, node: &Node) -> Result<Success, Fault> {
    let items = match &node.value {
        Value::String(text) if text.as_str() == "2xx" => return Ok(Success::Class2xx),
        Value::Array(items) if !items.is_empty() => items,
        Value::Array(_) => return Err(Fault::plain("is empty, so that nothing would be a success")),
        Value::String(_) => return Err(Fault::plain("has an unknown value")),
        other => return Err(wrong_kind(other)),
    };
    let code = |item: &Node| match item.value {
        Value::Integer(Some(code)) => match u16::try_from(code) {
            Ok(code) if (100..=599).contains(&code) => Ok(code),
            _ => Err(Fault::plain("has an entry that is no status code from 100 to 599").at(item.place)),
        },
        ref other => Err(in_list(wrong_kind(other), item)),
    };
    items.iter().map(code).collect::<Result<_, _>>().map(Success::Codes)
}

/// Networks; a lone address is the network of itself.
pub(super) fn networks(_: &Key, node: &Node) -> Result<Vec<IpNet>, Fault> {
    let network = |item: &Node| {
        let text = string(item).map_err(|fault| in_list(fault, item))?;
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        match network {
            Some(network) if network.addr() == network.network() => Ok(network),
            Some(network) => {
                let help = format!("write \"{}\"", network.trunc());
                Err(Fault::new("has an entry with bits set behind its prefix", help).at(item.place))
            }
            None => Err(Fault::plain("has an entry that is no network").at(item.place)),
        }
    };
    list(node)?.iter().map(network).collect()
}

/// The text of a string.
pub(super) fn string(node: &Node) -> Result<&str, Fault> {
    match &node.value {
        Value::String(text) => Ok(text),
        other => Err(wrong_kind(other)),
    }
}

/// The items of a list.
pub(super) fn list(node: &Node) -> Result<&[Node], Fault> {
    match &node.value {
        Value::Array(items) => Ok(items),
        other => Err(wrong_kind(other)),
    }
}

/// Where the bytes `range` of a text stand in the file, if they were written as they are read; else the whole text.
pub(super) fn place_within(sources: &Sources, node: &Node, range: Range<usize>) -> Place {
    let Value::String(text) = &node.value else { return node.place };
    match sources.written(node.place).find(text.as_str()) {
        Some(at) if !text.is_empty() => {
            let start = node.place.start + at + range.start.min(text.len());
            let end = node.place.start + at + range.end.min(text.len());
            Place { file: node.place.file, start, end: end.max(start) }
        }
        _ => node.place,
    }
}

/// A fault of an item, said of its list.
fn in_list(fault: Fault, item: &Node) -> Fault {
    Fault { what: format!("has an entry that {}", fault.what), ..fault }.at(item.place)
}

fn within<T: PartialOrd>(bounds: &RangeInclusive<T>, value: Option<T>) -> Result<T, Fault> {
    value.filter(|value| bounds.contains(value)).ok_or_else(out_of_bounds)
}

fn out_of_bounds() -> Fault {
    Fault::plain("is out of bounds")
}

fn wrong_kind(value: &Value) -> Fault {
    Fault::plain(format!("cannot be {}", value.kind()))
}
