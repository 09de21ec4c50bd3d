//! The filters and tests of templates: minijinja's, but for those whose text a payload could make too long,
//! for `tojson`, which there escapes for HTML, and `string`, which there writes `True` and `None`.

use std::borrow::Cow;

use minijinja::{Environment, Error, ErrorKind, Output, State, Value, filters, tests};

use super::Bounded;

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
    environment.add_filter("abs", filters::abs);
    environment.add_filter("attr", filters::attr);
    environment.add_filter("bool", filters::bool);
    environment.add_filter("capitalize", filters::capitalize);
    environment.add_filter("count", filters::length);
    environment.add_filter("d", filters::default);
    environment.add_filter("default", filters::default);
    environment.add_filter("dictsort", filters::dictsort);
    environment.add_filter("first", filters::first);
    environment.add_filter("float", filters::float);
    environment.add_filter("int", filters::int);
    environment.add_filter("items", filters::items);
    environment.add_filter("join", join);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", filters::length);
    environment.add_filter("list", filters::list);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("map", filters::map);
    environment.add_filter("max", filters::max);
    environment.add_filter("min", filters::min);
    environment.add_filter("reject", filters::reject);
    environment.add_filter("rejectattr", filters::rejectattr);
    environment.add_filter("replace", replace);
    environment.add_filter("reverse", filters::reverse);
    environment.add_filter("round", filters::round);
    environment.add_filter("select", filters::select);
    environment.add_filter("selectattr", filters::selectattr);
    environment.add_filter("sort", filters::sort);
    environment.add_filter("split", filters::split);
    environment.add_filter("string", string);
    environment.add_filter("sum", sum);
    environment.add_filter("tojson", tojson);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("upper", filters::upper);
    add_tests(environment);
}

fn add_tests(environment: &mut Environment<'_>) {
    environment.add_test("boolean", tests::is_boolean);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("endingwith", tests::is_endingwith);
    environment.add_test("eq", tests::is_eq);
    environment.add_test("even", tests::is_even);
    environment.add_test("false", tests::is_false);
    environment.add_test("in", tests::is_in);
    environment.add_test("integer", tests::is_integer);
    environment.add_test("iterable", tests::is_iterable);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("none", tests::is_none);
    environment.add_test("number", tests::is_number);
    environment.add_test("odd", tests::is_odd);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("startingwith", tests::is_startingwith);
    environment.add_test("string", tests::is_string);
    environment.add_test("true", tests::is_true);
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
