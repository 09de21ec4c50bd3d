//! The scripts: each says what it is for, and a shell can read it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    file,
    support::{program::is_there, skip},
};

/// All files below `packaging/` that begin with `#!`, with the interpreter's name.
fn scripts() -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if let Some(first) = fs::read_to_string(&path).expect("a text").lines().next()
                && let Some(interpreter) = first.strip_prefix("#!")
            {
                let name = interpreter.rsplit(['/', ' ']).next().expect("a name").to_owned();
                found.push((path, name));
            }
        }
    }
    let mut found = Vec::new();
    walk(&file("packaging"), &mut found);
    found
}

#[test]
fn each_can_be_read_and_says_what_it_does() {
    let scripts = scripts();
    assert!(scripts.len() >= 8, "{scripts:?}");
    for (script, interpreter) in scripts {
        let text = fs::read_to_string(&script).expect("a text");
        let second = text.lines().nth(1).expect("a second line");
        assert!(second.starts_with("# ") || second.starts_with("\"\"\""), "{}: {second}", script.display());
        if interpreter.ends_with("sh") {
            let output = Command::new(&interpreter).arg("-n").arg(&script).output().expect("a shell");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn shellcheck_has_nothing_to_say() {
    if !is_there("shellcheck") {
        skip("there is no shellcheck to judge the scripts", false);
        return;
    }
    let shells = scripts().into_iter().filter(|(_, interpreter)| interpreter.ends_with("sh"));
    let output =
        Command::new("shellcheck").args(shells.map(|(script, _)| script)).output().expect("it is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
