//! What the suite is asked for: `cargo bench -- [--long] [--json FILE] [NAME…]`.

use std::path::PathBuf;

use crate::Result;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// All of it in some two minutes.
    Short,
    /// More events, more rounds, longer looks.
    Long,
}

impl Form {
    /// One of the two.
    pub(crate) fn pick<T>(self, short: T, long: T) -> T {
        if self == Self::Short { short } else { long }
    }
}

/// The command line.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) form: Form,
    pub(crate) json: Option<PathBuf>,
    /// Benchmarks whose names have one of these in them; none: all.
    filters: Vec<String>,
}

impl Arguments {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut parsed = Self { form: Form::Short, json: None, filters: Vec::new() };
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // cargo's own.
                "--bench" => {}
                "--long" => parsed.form = Form::Long,
                "--json" => {
                    parsed.json = Some(arguments.next().ok_or("--json needs the name of a file")?.into());
                }
                option if option.starts_with('-') => {
                    let usage = "cargo bench -- [--long] [--json FILE] [NAME…]";
                    return Err(format!("there is no option {option}; there are: {usage}").into());
                }
                name => parsed.filters.push(name.to_owned()),
            }
        }
        Ok(parsed)
    }

    /// Whether the benchmark of this name is asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }
}
