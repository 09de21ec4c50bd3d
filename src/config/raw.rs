//! The configuration as it was written: a tree of values, each with its place.
//!
//! Several files become one tree by [`Table::merge`]: tables merge key by key, the later file wins, arrays of
//! tables add up.

use std::collections::BTreeMap;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use zeroize::Zeroizing;

use super::source::Place;

/// A value and where it stands.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A TOML value.
#[derive(Clone)]
pub(super) enum Value {
    Array(Vec<Node>),
    Boolean(bool),
    /// A date or a time; no key takes one.
    Datetime,
    Float(f64),
    /// `None`: it does not fit 64 bits.
    Integer(Option<i64>),
    /// Wiped when dropped, since it may be a secret.
    String(Zeroizing<String>),
    Table(Table),
}

impl Value {
    /// What people call such a value.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Array(_) => "an array",
            Self::Boolean(_) => "a boolean",
            Self::Datetime => "a date or time",
            Self::Float(_) => "a float",
            Self::Integer(_) => "an integer",
            Self::String(_) => "a string",
            Self::Table(_) => "a table",
        }
    }

    /// Whether this is what `[[name]]` makes: an array of nothing but tables.
    fn is_array_of_tables(&self) -> bool {
        matches!(self, Self::Array(items) if items.iter().all(|item| matches!(item.value, Self::Table(_))))
    }
}

/// A key's place and its value.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: Place,
    pub(super) node: Node,
}

/// A TOML table.
#[derive(Clone, Default)]
pub(super) struct Table {
    pub(super) entries: BTreeMap<String, Entry>,
}

impl Table {
    /// What a parsed document says; `file` is the number of the file.
    pub(super) fn from_document(file: usize, document: &DeTable<'_>) -> Self {
        let entries = document.iter().map(|(key, value)| {
            let place = Place::new(file, &key.span());
            (key.get_ref().to_string(), Entry { key: place, node: node(file, value) })
        });
        Self { entries: entries.collect() }
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries.get(key).map(|entry| &entry.node)
    }

    /// Lays `over` over this: tables merge key by key, arrays of tables add up, of anything else the value of `over` wins.
    pub(super) fn merge(&mut self, over: Self) {
        for (key, entry) in over.entries {
            match self.entries.get_mut(&key) {
                Some(below) => below.merge(entry),
                None => {
                    self.entries.insert(key, entry);
                }
            }
        }
    }
}

impl Entry {
    fn merge(&mut self, over: Self) {
        let both_arrays = self.node.value.is_array_of_tables() && over.node.value.is_array_of_tables();
        match (&mut self.node.value, over.node.value) {
            (Value::Table(below), Value::Table(above)) => {
                below.merge(above);
                // What is missing is missed where it was last written about.
                self.key = over.key;
                self.node.place = over.node.place;
            }
            (Value::Array(below), Value::Array(above)) if both_arrays => below.extend(above),
            (_, value) => *self = Self { key: over.key, node: Node { place: over.node.place, value } },
        }
    }
}

/// A parsed value of the file with the number `file`.
pub(super) fn node(file: usize, value: &Spanned<DeValue<'_>>) -> Node {
    let value_of = |value: &DeValue<'_>| match value {
        DeValue::Array(items) => Value::Array(items.iter().map(|item| node(file, item)).collect()),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Float(value) => Value::Float(value.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Integer(value) => Value::Integer(i64::from_str_radix(value.as_str(), value.radix()).ok()),
        DeValue::String(value) => Value::String(Zeroizing::new(value.to_string())),
        DeValue::Table(table) => Value::Table(Table::from_document(file, table)),
    };
    Node { place: Place::new(file, &value.span()), value: value_of(value.get_ref()) }
}
