//! Templates: bodies written in the language of minijinja (Jinja's), compiled once.
//!
//! Variables: `id type account time time_unix time_ms data data_json data_text delivery_id endpoint_id
//! producer_id content_type`. `time` is the event's time in RFC 3339, `time_unix` and `time_ms` the same as
//! numbers; `producer_id` is none where the producer gave none. `data_json` is the very bytes of `data`, to be
//! put into a JSON body as they are; `data_text` is the payload as text, for `{{ data_text | tojson }}`. Of a payload that is
//! no JSON, as `content_type` says, `data` and `data_json` are undefined, and of one that is no UTF-8 `data_text` is, too.
//! `data` is the payload parsed, and it is parsed only where a template names it: there objects are in the order
//! of their keys, of several equal keys the last counts, and a number that fits neither 64-bit integers nor
//! doubles is rounded, which `data_json` never does. What is not in `data` is undefined: false in `if`, replaced
//! by `default(…)`, and an error where it would be written, looped over or looked into.
//!
//! Tags: `if elif else endif`, `for … in … else endfor`, `raw endraw`. Filters and tests: [`FILTERS`], [`TESTS`].
//! Nothing is escaped by itself. Strings are written as they are, all else as JSON (`true`, `null`, `{"a":1}`);
//! `tojson` makes JSON of strings too: compact, and plain, not escaped for HTML. `~` joins text the engine's way
//! (`True`, `None`); put `| string` behind what may be neither text nor number.
//!
//! A template is the operator's, a payload anybody's. So everything that a payload could blow up is bounded:
//! steps (fuel), the bytes that it looks at, which operators and filters go over (`meter`), text built by a filter, the output. And what a mistake could blow up before anything runs is
//! refused at [`BodyTemplate::compile`], see `scan`: the engine's compiler and its values recurse, and would
//! overflow the stack on long chains of operators; `set`, macros, `*` and building text in the head of a `for`
//! would let a few lines double a value until memory is full.
//!
//! What can fail: at compile time anything about the template itself, as [`TemplateError`]; at run time what the
//! payload brings in, as [`RenderError`], which shows nothing of it.

mod filters;
mod meter;
mod scan;

use std::{collections::BTreeSet, fmt, io, sync::Arc};

use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

pub use self::{
    filters::{FILTERS, TESTS},
    scan::ScanError,
};
use self::{
    meter::{BUDGET, Budget, Scope},
    scan::Seen,
};
use super::facts::Facts;
use crate::model::content::ContentType;

/// The variables that templates know.
pub const VARIABLES: [&str; 13] = [
    "id",
    "type",
    "account",
    "time",
    "time_unix",
    "time_ms",
    "data",
    "data_json",
    "data_text",
    "delivery_id",
    "endpoint_id",
    "producer_id",
    "content_type",
];

/// Bytes that the output may have more than the payload.
pub const MAX_OUTPUT: usize = 16 << 20;

/// Steps that one rendering may take: some 100,000 turns of a loop.
const FUEL: u64 = 2_000_000;
/// Bytes of a payload that is gone over in no time, once.
const SMALL: usize = 4 << 10;
/// The engine's own bound on loops within loops; the scan allows fewer.
const FRAMES: usize = 64;
const NAME: &str = "body";

/// A compiled template.
pub struct BodyTemplate {
    environment: Environment<'static>,
    variables: BTreeSet<&'static str>,
    /// A loop is in another.
    nested: bool,
    /// What a rendering may cost.
    budget: u64,
}

impl BodyTemplate {
    /// Compiles `source` and tries it on `sample`, forgiving only what another payload could put right.
    pub fn compile(source: &str, sample: &Facts<'_>) -> Result<Self, TemplateError> {
        let Seen { nested, variables: seen } = scan::scan(source)?;
        let mut environment = Environment::empty();
        filters::add(&mut environment);
        environment.set_recursion_limit(FRAMES);
        environment.set_fuel(Some(FUEL));
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| TemplateError::of(&error))?;
        // The engine does not find those of which a slice is taken.
        let variables = variables(&environment)?.into_iter().chain(seen).collect();
        let mut template = Self { environment, variables, nested, budget: BUDGET };
        let reads_data = template.variables.contains("data");
        let undefined = if reads_data { UndefinedBehavior::Chainable } else { UndefinedBehavior::SemiStrict };
        template.environment.set_undefined_behavior(undefined);
        template.attempt(sample)?;
        template.environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        Ok(template)
    }

    /// Whether a rendering may take more than a millisecond or so: loops in loops over little go over much.
    pub(super) fn takes_its_time(&self, payload: usize) -> bool {
        self.nested || payload > SMALL
    }

    /// The body for `facts`; the same for every attempt, since no variable tells attempts apart.
    pub fn render(&self, facts: &Facts<'_>) -> Result<Vec<u8>, RenderError> {
        self.run(facts).map_err(|Failed { error, why }| RenderError {
            line: error.line(),
            why: why.unwrap_or_else(|| RenderProblem::of(error.kind())),
        })
    }

    /// Renders the sample. A template that reads `data` may fail for what the sample's `data` lacks.
    fn attempt(&self, sample: &Facts<'_>) -> Result<(), TemplateError> {
        let Err(Failed { error, why }) = self.run(sample) else { return Ok(()) };
        let hopeless = matches!(
            error.kind(),
            ErrorKind::OutOfFuel
                | ErrorKind::UnknownFilter
                | ErrorKind::UnknownFunction
                | ErrorKind::UnknownMethod
                | ErrorKind::UnknownTest
        );
        if hopeless || why.is_some() || !self.variables.contains("data") {
            Err(TemplateError::of(&error))
        } else {
            Ok(())
        }
    }

    fn run(&self, facts: &Facts<'_>) -> Result<Vec<u8>, Failed> {
        let failed = |error| Failed { error, why: None };
        let template = self.environment.get_template(NAME).map_err(failed)?;
        let budget = Budget::new(self.budget, facts.data.len(), self.nested);
        let values = self.values(facts).map_err(failed)?;
        let context = Value::from_object(Scope::new(values, Arc::clone(&budget)));
        let mut out = Bounded::new(facts.data.len().saturating_add(MAX_OUTPUT));
        let ended = template.render_captured_to(context, &mut out).map(drop);
        // Whatever went wrong after that: what was not found was not looked for.
        let why = match (out.full, budget.is_spent()) {
            (true, _) => Some(RenderProblem::TooLarge),
            (false, true) => Some(RenderProblem::TooLong),
            (false, false) => None,
        };
        match (ended, why) {
            (Ok(()), None) => Ok(out.bytes),
            (Ok(()), Some(_)) => Err(Failed { error: ErrorKind::OutOfFuel.into(), why }),
            (Err(error), why) => Err(Failed { error, why }),
        }
    }

    /// The variables that the template names, and no others.
    fn values(&self, facts: &Facts<'_>) -> Result<Vec<(&'static str, Value)>, minijinja::Error> {
        self.variables.iter().map(|name| Ok((*name, variable(name, facts)?))).collect()
    }
}

impl fmt::Debug for BodyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyTemplate").field("variables", &self.variables).finish_non_exhaustive()
    }
}

/// Why a template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The engine refuses it, or it fails on the sample event.
    #[error("line {line}: {message}")]
    Engine {
        /// The line of the template, from 1.
        line: usize,
        /// What the engine says.
        message: String,
    },
    /// It is beyond the bounds, or uses what templates do not have.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// No variable has this name.
    #[error("unknown variable {name}{}; there are {}", did_you_mean(*.nearest), VARIABLES.join(" "))]
    Variable {
        /// The name as it was written.
        name: String,
        /// The known name that is most like it.
        nearest: Option<&'static str>,
    },
}

impl TemplateError {
    fn of(error: &minijinja::Error) -> Self {
        let message = match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        };
        Self::Engine { line: error.line().unwrap_or(1), message }
    }
}

/// Why a template gave no body. Says where and what kind of failure, and nothing of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body's template failed{}: {why}", at_line(*.line))]
pub struct RenderError {
    /// The line of the template, from 1, where it is known.
    pub line: Option<usize>,
    /// What went wrong.
    pub why: RenderProblem,
}

/// What went wrong in a template at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderProblem {
    /// An operator, filter or test got what it cannot work on.
    #[error("a value is not of the kind that the template needs")]
    Mismatch,
    /// `data` is not JSON.
    #[error("data is not JSON, or nested too deeply to be parsed")]
    NotJson,
    /// Too many steps, or too much looked at.
    #[error("it takes too many steps for this payload, or goes over too much of it too often")]
    TooLong,
    /// Too much output.
    #[error("it writes more than 16MiB beyond the payload")]
    TooLarge,
    /// The payload lacks what the template writes.
    #[error("the payload lacks a value that the template needs; give one with default(…)")]
    Undefined,
}

impl RenderProblem {
    const fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::CannotDeserialize => Self::NotJson,
            ErrorKind::OutOfFuel => Self::TooLong,
            ErrorKind::UndefinedError => Self::Undefined,
            ErrorKind::WriteFailure => Self::TooLarge,
            _ => Self::Mismatch,
        }
    }
}

/// A rendering that failed, and why, where the error does not say it: a bound was met before.
struct Failed {
    error: minijinja::Error,
    why: Option<RenderProblem>,
}

/// A buffer that takes so much and no more.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    full: bool,
}

impl Bounded {
    const fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, full: false }
    }
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(bytes.len()) > self.limit {
            self.full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The variables that the compiled template names; an unknown one (or a function: there are none) is an error.
fn variables(environment: &Environment<'_>) -> Result<BTreeSet<&'static str>, TemplateError> {
    let template = environment.get_template(NAME).map_err(|error| TemplateError::of(&error))?;
    let named: BTreeSet<String> = template.undeclared_variables(false).into_iter().collect();
    let known = |name: String| match VARIABLES.into_iter().find(|known| *known == name) {
        Some(known) => Ok(known),
        None => Err(TemplateError::Variable { nearest: super::nearest(&name, VARIABLES), name }),
    };
    named.into_iter().map(known).collect()
}

fn variable(name: &str, facts: &Facts<'_>) -> Result<Value, minijinja::Error> {
    Ok(match name {
        "id" => facts.event_id.into(),
        "type" => facts.event_type.into(),
        "account" => facts.account.into(),
        "time" => facts.event_time.to_string().into(),
        "time_unix" => facts.event_time.as_secs().into(),
        "time_ms" => facts.event_time.as_millis().into(),
        "data" if facts.is_json() => serde_json::from_slice(facts.data)
            .map_err(|_| minijinja::Error::from(ErrorKind::CannotDeserialize))?,
        "data_json" if facts.is_json() => String::from_utf8_lossy(facts.data).as_ref().into(),
        "data_text" => std::str::from_utf8(facts.data).map_or(Value::UNDEFINED, Value::from),
        "delivery_id" => facts.delivery_id.into(),
        "endpoint_id" => facts.endpoint_id.into(),
        "producer_id" => facts.producer_id.map_or(Value::from(()), Value::from),
        "content_type" => facts.content_type.map_or(ContentType::JSON, ContentType::as_str).into(),
        // `data` and `data_json` of a payload that is no JSON.
        _ => Value::UNDEFINED,
    })
}

fn did_you_mean(nearest: Option<&'static str>) -> String {
    nearest.map(|nearest| format!(", did you mean {nearest}?")).unwrap_or_default()
}

fn at_line(line: Option<usize>) -> String {
    line.map(|line| format!(" in line {line}")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
