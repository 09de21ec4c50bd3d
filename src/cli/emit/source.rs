//! The input: files and standard input, line by line.
//!
//! Lines are split as the stream splits them: blank ones are passed over, and one that is longer than any event may be
//! is reported and skipped. The end of a file ends its last line.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::recipe::{Made, Recipe};
use crate::{
    cli::error::CliError,
    ingest::{
        answer::Refusal,
        dialect,
        event::too_large,
        lines::{Line, Lines},
    },
};

/// No line is longer: no configuration lets an event have more.
const LINE_LIMIT: usize = 64 << 20;
/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// Where lines come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Standard,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Standard => f.write_str("standard input"),
        }
    }
}

/// Which line of which input, from 1 and from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The input's index.
    pub input: usize,
    /// The line's number.
    pub line: u64,
}

/// A line that was found: what goes to the daemon, or why nothing of it does.
#[derive(Debug)]
pub struct Found {
    /// Where it stands.
    pub place: Place,
    /// What was made of it.
    pub made: Result<Made, Refusal>,
}

/// Says what is wrong with the inputs as far as that can be seen before anything is read.
///
/// # Errors
/// One of them is not there.
pub fn check(inputs: &[Input]) -> Result<(), CliError> {
    for input in inputs {
        if let Input::File(path) = input {
            std::fs::metadata(path).map_err(|error| failed(path, error))?;
        }
    }
    Ok(())
}

/// Reads the inputs one after the other, from the line `first` on, until `found` says that nobody wants more.
///
/// # Errors
/// One of them cannot be read; what was found before is found.
pub fn read(
    inputs: &[Input],
    first: u64,
    recipe: &Recipe,
    mut found: impl FnMut(Found) -> bool,
) -> Result<(), CliError> {
    for (index, input) in inputs.iter().enumerate() {
        let mut line = |number, line: Result<&[u8], Refusal>| {
            if number < first {
                return true;
            }
            let made = line.and_then(|line| recipe.make(number, line));
            found(Found { place: Place { input: index, line: number }, made })
        };
        let read = match input {
            Input::File(path) => {
                let file = File::open(path).map_err(|error| failed(path, error))?;
                split(file, &mut line).map_err(|error| failed(path, error))?
            }
            Input::Standard => split(io::stdin().lock(), &mut line)
                .map_err(|error| failed("standard input".as_ref(), error))?,
        };
        if !read {
            return Ok(());
        }
    }
    Ok(())
}

/// Splits what `source` has into lines; `false`: nobody wants more.
fn split(
    mut source: impl Read,
    line: &mut impl FnMut(u64, Result<&[u8], Refusal>) -> bool,
) -> io::Result<bool> {
    let mut lines = Lines::new(LINE_LIMIT);
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = match source.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        lines.buffer().extend_from_slice(&chunk[..count]);
        while let Some(next) = lines.next_line() {
            let wanted = match next {
                Line::Whole(number, bytes) => line(number, Ok(&bytes)),
                Line::TooLong(number) => {
                    line(number, Err(too_large(LINE_LIMIT).at(dialect::Place::Line(number))))
                }
            };
            if !wanted {
                return Ok(false);
            }
        }
    }
    Ok(lines.rest().is_none_or(|(number, bytes)| line(number, Ok(&bytes))))
}

fn failed(path: &Path, error: io::Error) -> CliError {
    CliError::File { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_numbers() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("a file");
            Input::File(path)
        };
        let inputs = [file("a", "one\n\ntwo\r\n \t\n"), file("b", "three\nfour")];
        let recipe = Recipe { head: None, resume: None };
        let lines = |first, most: usize| {
            let mut lines = Vec::new();
            let read = read(&inputs, first, &recipe, |found| {
                let made = found.made.expect("a line");
                let text = String::from_utf8(made.bytes).expect("text").trim_end().to_owned();
                lines.push((found.place.input, found.place.line, text));
                lines.len() < most
            });
            read.expect("all is read");
            lines
        };
        let all = [(0, 1, "one"), (0, 3, "two"), (1, 1, "three"), (1, 2, "four")]
            .map(|(input, line, text)| (input, line, text.to_owned()));
        assert_eq!(lines(0, 9), all);
        assert_eq!(lines(2, 9), [all[1].clone(), all[3].clone()]);
        assert_eq!(lines(0, 3), all[..3]);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let source = [&b"x".repeat(LINE_LIMIT + 1)[..], b"\nnext\n"].concat();
        let mut seen = Vec::new();
        let read = split(&source[..], &mut |number, line| {
            seen.push((number, line.map(<[u8]>::to_vec).map_err(|refusal| refusal.code.as_str())));
            true
        });
        assert!(read.expect("all is read"));
        assert_eq!(seen, [(1, Err("event_too_large")), (2, Ok(b"next".to_vec()))]);
    }

    #[test]
    fn what_is_not_there_is_said_with_its_name() {
        let missing = Input::File(PathBuf::from("/not/there.ndjson"));
        let error = check(&[Input::Standard, missing.clone()]).expect_err("it is not there");
        assert!(error.to_string().starts_with("/not/there.ndjson: "), "{error}");
        let recipe = Recipe { head: None, resume: None };
        assert!(read(&[missing], 0, &recipe, |_| true).is_err());
    }
}
