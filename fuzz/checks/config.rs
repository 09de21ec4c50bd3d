//! A configuration: read, or refused with all that is wrong, each with words that people can read.
//!
//! An input is the text of `posthaste.toml`, and behind a byte 0 that of a file in `conf.d`.

use std::{fs, path::Path};

use posthaste::config::load_with;

pub(crate) fn check(input: &[u8]) {
    let directory = tempfile::tempdir().expect("a directory");
    let (main, more) = match input.iter().position(|byte| *byte == 0) {
        Some(end) => (&input[..end], Some(&input[end + 1..])),
        None => (input, None),
    };
    let file = directory.path().join("posthaste.toml");
    fs::write(&file, main).expect("a file");
    if let Some(more) = more {
        write_more(directory.path(), more);
    }
    if let Err(errors) = load_with(&file, Some(directory.path())) {
        assert!(!errors.errors().is_empty(), "it is said what is wrong");
        let said = errors.to_string();
        // A tab stands where the line has one.
        let fits = |letter: char| matches!(letter, '\n' | '\t') || !letter.is_control();
        assert!(!said.is_empty() && said.chars().all(fits), "it can be read: {said:?}");
    }
}

fn write_more(directory: &Path, text: &[u8]) {
    let directory = directory.join("conf.d");
    fs::create_dir(&directory).expect("a directory");
    fs::write(directory.join("more.toml"), text).expect("a file");
}
