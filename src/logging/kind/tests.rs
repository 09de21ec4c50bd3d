use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use super::*;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Holds a file against what the table makes of it; with `POSTHASTE_BLESS=1` writes it.
fn hold(name: &str, rewrite: impl FnOnce(&str) -> String) {
    let path = root().join(name);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let made = rewrite(&text);
    if env::var_os("POSTHASTE_BLESS").is_some() {
        fs::write(path, made).expect("a file of the repository");
    } else {
        assert!(
            text == made,
            "{name} is not as the table has it: run `POSTHASTE_BLESS=1 cargo test --lib logging`"
        );
    }
}

#[test]
fn the_operators_page_has_the_table() {
    let mut table = String::from(
        "\n| kind | level | what it means | what to do | MESSAGE_ID |\n| --- | --- | --- | --- | --- |\n",
    );
    for kind in Kind::ALL {
        let (word, level, id) = (kind.word(), kind.level().as_str().to_lowercase(), kind.message_id());
        let (meaning, help) = (kind.meaning(), kind.help());
        writeln!(table, "| `{word}` | {level} | {meaning} | {help} | `{id}` |").expect("a String takes all");
    }
    hold("docs/operations.md", |page| {
        let (before, rest) = page.split_once("<!-- kinds -->\n").expect("the table's beginning");
        let (_, after) = rest.split_once("\n<!-- /kinds -->").expect("the table's end");
        format!("{before}<!-- kinds -->\n{table}\n<!-- /kinds -->{after}")
    });
}

#[test]
fn the_catalog_has_every_kind() {
    let mut catalog = String::from(
        "# What lines of posthaste mean, for `journalctl -x`. Written from src/logging/kind.rs.\n",
    );
    for kind in Kind::ALL {
        let plain = |text: &str| text.replace('`', "'");
        let mut letters = kind.meaning().chars();
        let first = letters.next().map(|letter| letter.to_uppercase().collect::<String>());
        let subject = plain(&(first.unwrap_or_default() + letters.as_str()));
        let help = if kind.help().is_empty() {
            "Nothing has to be done.".to_owned()
        } else {
            format!("What to do: {}.", plain(kind.help()))
        };
        let id = kind.message_id();
        write!(catalog, "\n-- {id}\nSubject: {subject}\nDefined-By: posthaste\n\n{help}\n")
            .expect("a String takes all");
    }
    hold("packaging/posthaste.catalog", |_| catalog);
}

#[test]
fn words_and_ids_are_each_ones_own() {
    let is_id = |id: &str| {
        id.len() == 32 && id.chars().all(|letter| letter.is_ascii_digit() || ('a'..='f').contains(&letter))
    };
    for kind in Kind::ALL {
        assert!(is_id(kind.message_id()), "{kind:?}");
        assert_eq!(Kind::of(kind.word()), Some(*kind));
    }
    assert_eq!(Kind::of("none"), None);
    let ids: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.message_id()).collect();
    assert_eq!(ids.len(), Kind::ALL.len());
}

fn sources(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        let is_test = path.file_stem().is_some_and(|name| name == "tests");
        if path.is_dir() && !is_test {
            sources(&path, found);
        } else if path.is_file() && !is_test {
            let source = fs::read_to_string(path).expect("a source");
            found.push(source.split("#[cfg(test)]\n").next().unwrap_or_default().to_owned());
        }
    }
}

#[test]
fn every_kind_is_said_at_its_level() {
    let mut all = Vec::new();
    sources(&root().join("src"), &mut all);
    let mut said: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in &all {
        for call in source.split("tracing::").skip(1) {
            let Some((level, arguments)) = call.split_once("!(") else { continue };
            let Some(name) = arguments.trim_start().strip_prefix("kind = Kind::") else { continue };
            let name = name.split('.').next().unwrap_or_default();
            said.entry(name.to_owned()).or_default().insert(level.to_uppercase());
        }
        for name in source.split("::own(").skip(1).filter_map(|call| call.split("Kind::").nth(1)) {
            let name: String = name.chars().take_while(char::is_ascii_alphanumeric).collect();
            let level = Kind::ALL.iter().find(|kind| format!("{kind:?}") == name).map(|kind| kind.level());
            said.entry(name).or_default().extend(level.map(|level| level.to_string()));
        }
    }
    let expected =
        Kind::ALL.iter().map(|kind| (format!("{kind:?}"), BTreeSet::from([kind.level().to_string()])));
    assert_eq!(said, expected.collect());
}
