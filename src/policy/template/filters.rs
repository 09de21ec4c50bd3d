//! The filters and tests of templates: minijinja's, but for those whose text a payload could make too long,
//! for `tojson`, which there escapes for HTML, and `string`, which there writes `True` and `None`. All of them pay
//! ([`meter`]).

use std::borrow::Cow;

use minijinja::{
    Environment, Error, ErrorKind, Output, State, Value, filters, tests,
    value::{Rest, ValueOrKwargs},
};

use super::{Bounded, meter};

/// The filters that templates know.
pub const FILTERS: [&str; 34] = [
    "abs",
    "attr",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "sort",
    "split",
    "string",
    "sum",
    "tojson",
    "trim",
    "upper",
];

/// The tests (`is …`) that templates know.
pub const TESTS: [&str; 17] = [
    "boolean",
    "defined",
    "endingwith",
    "eq",
    "even",
    "false",
    "in",
    "integer",
    "iterable",
    "mapping",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
    "true",
];

/// Bytes of text that one filter may build.
const MAX_TEXT: usize = 64 << 20;

/// Adds [`FILTERS`] and [`TESTS`] to an environment, and the way values are written: [`text`].
pub(super) fn add(environment: &mut Environment<'_>) {
    environment.set_formatter(write);
    filter(environment, "abs", Value::from_function(filters::abs));
    filter(environment, "attr", Value::from_function(filters::attr));
    filter(environment, "bool", Value::from_function(filters::bool));
    filter(environment, "capitalize", Value::from_function(filters::capitalize));
    filter(environment, "count", Value::from_function(filters::length));
    filter(environment, "d", Value::from_function(filters::default));
    filter(environment, "default", Value::from_function(filters::default));
    filter(environment, "dictsort", Value::from_function(filters::dictsort));
    filter(environment, "first", Value::from_function(filters::first));
    filter(environment, "float", Value::from_function(filters::float));
    filter(environment, "int", Value::from_function(filters::int));
    filter(environment, "items", Value::from_function(filters::items));
    splitting(environment, "join", characters, Value::from_function(join));
    filter(environment, "last", Value::from_function(filters::last));
    filter(environment, "length", Value::from_function(filters::length));
    splitting(environment, "list", characters, Value::from_function(filters::list));
    filter(environment, "lower", Value::from_function(filters::lower));
    splitting(environment, "map", characters, Value::from_function(filters::map));
    splitting(environment, "max", characters, Value::from_function(filters::max));
    splitting(environment, "min", characters, Value::from_function(filters::min));
    splitting(environment, "reject", characters, Value::from_function(filters::reject));
    splitting(environment, "rejectattr", characters, Value::from_function(filters::rejectattr));
    filter(environment, "replace", Value::from_function(replace));
    filter(environment, "reverse", Value::from_function(filters::reverse));
    filter(environment, "round", Value::from_function(filters::round));
    splitting(environment, "select", characters, Value::from_function(filters::select));
    splitting(environment, "selectattr", characters, Value::from_function(filters::selectattr));
    splitting(environment, "sort", characters, Value::from_function(filters::sort));
    splitting(environment, "split", pieces, Value::from_function(filters::split));
    filter(environment, "string", Value::from_function(string));
    splitting(environment, "sum", characters, Value::from_function(sum));
    filter(environment, "tojson", Value::from_function(tojson));
    filter(environment, "trim", Value::from_function(filters::trim));
    filter(environment, "upper", Value::from_function(filters::upper));
    add_tests(environment);
}

fn add_tests(environment: &mut Environment<'_>) {
    test(environment, "boolean", Value::from_function(tests::is_boolean));
    test(environment, "defined", Value::from_function(tests::is_defined));
    test(environment, "endingwith", Value::from_function(tests::is_endingwith));
    test(environment, "eq", Value::from_function(tests::is_eq));
    test(environment, "even", Value::from_function(tests::is_even));
    test(environment, "false", Value::from_function(tests::is_false));
    test(environment, "in", Value::from_function(tests::is_in));
    test(environment, "integer", Value::from_function(tests::is_integer));
    test(environment, "iterable", Value::from_function(tests::is_iterable));
    test(environment, "mapping", Value::from_function(tests::is_mapping));
    test(environment, "none", Value::from_function(tests::is_none));
    test(environment, "number", Value::from_function(tests::is_number));
    test(environment, "odd", Value::from_function(tests::is_odd));
    test(environment, "sequence", Value::from_function(tests::is_sequence));
    test(environment, "startingwith", Value::from_function(tests::is_startingwith));
    test(environment, "string", Value::from_function(tests::is_string));
    test(environment, "true", Value::from_function(tests::is_true));
}

/// Adds a filter that pays for what it works on.
fn filter(environment: &mut Environment<'_>, name: &'static str, function: Value) {
    splitting(environment, name, |_, _| 0, function);
}

/// Adds a filter that makes so many values of a text, given its other arguments: it pays for these as well, before they
/// take memory.
fn splitting(
    environment: &mut Environment<'_>,
    name: &'static str,
    values: fn(&str, &[Value]) -> usize,
    function: Value,
) {
    environment.add_filter(name, move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| {
        let args = args.into_values();
        let text = args.first().and_then(Value::as_str);
        let values = text.map_or(0, |text| values(text, &args[1..]));
        meter::call(&function, state, &args, values)
    });
}

/// What goes over a list goes over a text by its characters.
fn characters(text: &str, _: &[Value]) -> usize {
    text.chars().count()
}

/// Between separators, or between white space. That fewer may be asked for is no reason to look at less.
fn pieces(text: &str, args: &[Value]) -> usize {
    match args.first().and_then(Value::as_str) {
        Some(separator) => text.matches(separator).count() + 1,
        None => text.split_whitespace().count(),
    }
}

/// Adds a test, as [`filter`] adds a filter.
fn test(environment: &mut Environment<'_>, name: &'static str, function: Value) {
    environment.add_test(name, move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| {
        meter::call(&function, state, &args.into_values(), 0)
    });
}

/// A string as it is, nothing for what is undefined, anything else as JSON: so `{{ data.paid }}` is `true`, not
/// the engine's `True`.
fn text(value: &Value) -> Result<Cow<'_, str>, Error> {
    match value.as_str() {
        Some(text) => Ok(Cow::Borrowed(text)),
        None if value.is_undefined() => Ok(Cow::Borrowed("")),
        None => json(value).map(Cow::Owned),
    }
}

/// Compact JSON, not escaped for HTML.
fn json(value: &Value) -> Result<String, Error> {
    let mut out = Bounded::new(MAX_TEXT);
    let ended = serde_json::to_writer(&mut out, value);
    if out.full {
        return Err(too_large());
    }
    ended.map_err(|_| Error::from(ErrorKind::BadSerialization))?;
    Ok(String::from_utf8(out.bytes).expect("JSON is UTF-8"))
}

fn write(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    out.write_str(&text(value)?).map_err(Error::from)
}

fn tojson(value: &Value) -> Result<Value, Error> {
    if value.is_undefined() { Err(ErrorKind::UndefinedError.into()) } else { json(value).map(Value::from) }
}

fn string(value: &Value) -> Result<Value, Error> {
    if value.is_undefined() { Err(ErrorKind::UndefinedError.into()) } else { Ok(Value::from(text(value)?)) }
}

/// The items' texts with `between` (nothing, unless given) between.
fn join(value: &Value, between: Option<&str>) -> Result<Value, Error> {
    let mut all = String::new();
    for (index, item) in value.try_iter()?.enumerate() {
        if index > 0 {
            push(&mut all, between.unwrap_or_default())?;
        }
        push(&mut all, &text(&item)?)?;
    }
    Ok(Value::from(all))
}

/// `text` with `to` wherever it has `from`.
fn replace(text: &str, from: &str, to: &str) -> Result<Value, Error> {
    let grown = text.matches(from).count().saturating_mul(to.len()).saturating_add(text.len());
    if grown > MAX_TEXT { Err(too_large()) } else { Ok(Value::from(text.replace(from, to))) }
}

/// The sum of numbers: an integer unless one is not. Not of texts, which the engine would copy for each item.
fn sum(value: &Value) -> Result<Value, Error> {
    let (mut whole, mut real, mut is_whole) = (0_i128, 0.0, true);
    for item in value.try_iter()? {
        if !item.is_number() {
            return Err(ErrorKind::InvalidOperation.into());
        }
        real += f64::try_from(item.clone())?;
        match i128::try_from(item) {
            Ok(number) if is_whole => whole = whole.checked_add(number).ok_or(ErrorKind::InvalidOperation)?,
            _ => is_whole = false,
        }
    }
    Ok(if is_whole { Value::from(whole) } else { Value::from(real) })
}

fn push(text: &mut String, more: &str) -> Result<(), Error> {
    if text.len().saturating_add(more.len()) > MAX_TEXT {
        return Err(too_large());
    }
    text.push_str(more);
    Ok(())
}

fn too_large() -> Error {
    Error::new(ErrorKind::WriteFailure, "a filter's text grows beyond 64MiB")
}
