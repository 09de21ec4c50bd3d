//! What is wrong with a configuration: all of it at once, each error with its place.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::source::{Place, Shown, Sources};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// What is wrong.
    pub message: String,
    /// What to write instead, or what is allowed; may be empty.
    pub help: String,
    /// In which file.
    pub file: PathBuf,
    /// Where in it; `None`: the file as a whole.
    pub position: Option<Position>,
    /// Other places that have to do with it, each in a sentence.
    pub notes: Vec<String>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// The line itself, without what may be secret in it; empty where it is not there any more.
    pub text: String,
    indent: String,
    carets: usize,
}

impl ConfigError {
    /// What has no place of its own in `file`.
    pub fn of_file(file: PathBuf, message: String, help: &str) -> Self {
        Self { message, help: help.to_owned(), file, position: None, notes: Vec::new() }
    }
}

/// Where something stands that an error may be about only later, when the text is not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    file: Arc<Path>,
    line: usize,
    column: usize,
}

impl Written {
    pub(super) fn new(place: Place, sources: &Sources) -> Self {
        let (file, line, column) = sources.locate(place);
        Self { file, line, column }
    }

    /// What is wrong there, and what to do; without the line itself.
    pub fn error(&self, message: String, help: &str) -> ConfigError {
        let Self { file, line, column } = self;
        let position =
            Position { line: *line, column: *column, text: String::new(), indent: String::new(), carets: 0 };
        let help = help.to_owned();
        ConfigError { message, help, file: file.to_path_buf(), position: Some(position), notes: Vec::new() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        let file = self.file.display();
        let gutter = if let Some(at) = self.position.as_ref().filter(|at| at.carets > 0) {
            let number = at.line.to_string();
            let gutter = " ".repeat(number.len());
            writeln!(f, "{gutter}--> {file}:{}:{}", at.line, at.column)?;
            writeln!(f, "{gutter} |")?;
            writeln!(f, "{}", format!("{number} | {}", at.text).trim_end())?;
            let line = format!("{gutter} | {}{} {}", at.indent, "^".repeat(at.carets), self.help);
            writeln!(f, "{}", line.trim_end())?;
            gutter
        } else {
            let at = self.position.as_ref().map(|at| format!(":{}:{}", at.line, at.column));
            writeln!(f, " --> {file}{}", at.unwrap_or_default())?;
            if !self.help.is_empty() {
                writeln!(f, "  = {}", self.help)?;
            }
            " ".to_owned()
        };
        for note in &self.notes {
            writeln!(f, "{gutter} = {note}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration, in the order of the files; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// These errors, if there are any.
    pub fn of(errors: Vec<ConfigError>) -> Option<Self> {
        (!errors.is_empty()).then_some(Self { errors })
    }

    /// The errors, in the order of the files and of the lines in each.
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }
}

/// All errors, blank lines between them, and a last line that counts them.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "{error}")?;
        }
        match self.errors.len() {
            1 => f.write_str("1 error in the configuration"),
            n => write!(f, "{n} errors in the configuration"),
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// That a problem was noted: the answer of a reader that has no value to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reported;

/// An error before its place is looked up.
#[derive(Clone, Debug)]
struct Problem {
    place: Place,
    message: String,
    help: String,
    related: Vec<(String, Place)>,
}

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(super) struct Problems {
    files: Vec<ConfigError>,
    problems: Vec<Problem>,
}

impl Problems {
    /// Whether nothing is wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.problems.is_empty()
    }

    /// Notes something wrong at `place`.
    pub(super) fn add(&mut self, place: Place, message: String, help: impl Into<String>) -> Reported {
        self.problems.push(Problem { place, message, help: help.into(), related: Vec::new() });
        Reported
    }

    /// Notes something wrong at `place` that has to do with another place; `what` says how: `the first is`.
    pub(super) fn add_related(
        &mut self,
        place: Place,
        message: String,
        help: impl Into<String>,
        (what, other): (&str, Place),
    ) -> Reported {
        let related = vec![(what.to_owned(), other)];
        self.problems.push(Problem { place, message, help: help.into(), related });
        Reported
    }

    /// Notes that something is wrong with a file as a whole.
    pub(super) fn add_file(&mut self, file: PathBuf, message: String, help: impl Into<String>) {
        self.files.push(ConfigError { message, help: help.into(), file, position: None, notes: Vec::new() });
    }

    /// `Ok` if nothing is wrong, else all of it with lines and columns from `sources`.
    pub(super) fn finish(mut self, sources: &Sources) -> Result<(), ConfigErrors> {
        if self.is_empty() {
            return Ok(());
        }
        self.problems.sort_by_key(|problem| problem.place);
        let mut errors = self.files;
        errors.extend(self.problems.into_iter().map(|problem| located(problem, sources)));
        errors.dedup();
        Err(ConfigErrors { errors })
    }
}

fn located(problem: Problem, sources: &Sources) -> ConfigError {
    let Shown { file, line, column, text, indent, carets } = sources.show(problem.place);
    let note = |(what, place): &(String, Place)| {
        let at = sources.show(*place);
        format!("{what} at {}:{}:{}", at.file.display(), at.line, at.column)
    };
    ConfigError {
        message: problem.message,
        help: problem.help,
        file,
        position: Some(Position { line, column, text, indent, carets }),
        notes: problem.related.iter().map(note).collect(),
    }
}
