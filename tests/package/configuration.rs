//! The configuration that is installed: it is good as it stands, and so is each line that it shows.

use std::fs;

use crate::{
    support::{
        authority::Authority,
        skip,
        world::{World, stderr},
    },
    text,
};

const FILE: &str = "packaging/posthaste.toml";

/// The default of a key, as `docs/configuration.md`, which is written from the code's own table, has it.
pub fn default_of(section: &str, key: &str) -> String {
    let page = text("docs/configuration.md");
    let named =
        |line: &&str| line.starts_with("## `[") && line.trim_matches(['#', ' ', '`', '[', ']']) == section;
    let mut lines =
        page.lines().skip_while(|line| !named(line)).skip(1).take_while(|line| !line.starts_with("## "));
    let row = lines.find(|line| line.starts_with(&format!("| `{key}` |")));
    let cell =
        row.and_then(|row| row.split('|').nth(3)).unwrap_or_else(|| panic!("{section}.{key} is a key"));
    cell.trim().trim_matches('`').to_owned()
}

/// What a commented line shows: `KEY = VALUE` or a header.
fn shown(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("# ")?;
    let key = rest.split(' ').next()?;
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    (rest.starts_with('[') || is_key && rest[key.len()..].starts_with(" = ")).then_some(rest)
}

#[test]
fn what_it_shows_as_a_default_is_one() {
    let (mut section, mut is_example, mut seen) = (String::new(), false, 0);
    for line in text(FILE).lines() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_matches(['[', ']']).replace("accounts.default", "accounts.NAME");
        }
        match shown(line) {
            None => is_example = line.starts_with('#') && line.contains("Example"),
            Some(_) if is_example => {}
            Some(header) if header.starts_with('[') => panic!("{header} is not called an example"),
            Some(assignment) => {
                let (key, value) = assignment.split_once(" = ").expect("it is one");
                assert_eq!(value, default_of(&section, key), "{section}.{key}");
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "{seen} defaults were found");
}

/// Has a configuration checked on a system that has the package's users, which takes root.
fn check(configuration: &str) {
    if !rustix::process::geteuid().is_root() {
        skip("it takes root to have the package's groups", true);
        return;
    }
    let mut world = World::new("");
    let database = [
        ("passwd", "root:x:0:0::/:/bin/sh\noperator:x:4001:4001::/:/bin/sh\n", "/etc/passwd"),
        ("group", "root:x:0:\nposthaste-producers:x:901:\n", "/etc/group"),
    ];
    for (name, text, over) in database {
        fs::write(world.path(name), text).expect("written");
        let file = world.path(name);
        world.mount(&file, over);
    }
    fs::write(world.config(), configuration).expect("written");
    let output = world.program().args(["check", "--config"]).arg(world.config()).output().expect("it runs");
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn as_it_stands_it_is_good() {
    check(&text(FILE));
}

#[test]
fn with_every_line_that_it_shows_it_is_good() {
    let bundle = tempfile::NamedTempFile::new().expect("a file");
    fs::write(bundle.path(), Authority::new("a root of one's own").root.pem()).expect("written");
    let text = text(FILE).replace("/etc/posthaste/ca.pem", &bundle.path().display().to_string());
    let lines: Vec<_> = text.lines().map(|line| shown(line).unwrap_or(line)).collect();
    check(&lines.join("\n"));
}
