//! Holds the code's imports against the table in `docs/architecture.md`: who may import whom.
//!
//! Every `crate::NAME` in `src/` outside tests counts, in `use` lines (nested ones too) and in paths.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The modules of the crate's root, and what the table says each may import.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let document = fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md");
    let (_, table) = document.split_once("<!-- layering -->").expect("the table's beginning");
    let (table, _) = table.split_once("<!-- /layering -->").expect("the table's end");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let read = |line: &str| {
        let cells: Vec<_> = line.split('|').collect();
        let module = words(cells[1]).pop_first().expect("a module");
        (module, words(cells[2]))
    };
    rows.map(read).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All source files of a directory.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The root modules that a source names: `crate::{a::…, b, …}`, `crate::a::…`.
fn imports(source: &str) -> BTreeSet<String> {
    let code: String =
        source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        // `posthaste_crate::` would be another's.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            top_level_names(group, &mut found);
        } else {
            found.insert(word(rest));
        }
    }
    found
}

/// The first words of a group's items, up to the group's closing brace.
fn top_level_names(group: &str, found: &mut BTreeSet<String>) {
    let (mut depth, mut begins) = (0, true);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => return,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            letter if begins && depth == 0 && !letter.is_whitespace() => {
                found.insert(word(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// What a file has before its tests.
fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod tests {").next().unwrap_or(source)
}

fn module_of(path: &Path) -> String {
    let inner = path.strip_prefix(root().join("src")).expect("below src");
    let first = inner.components().next().expect("a component");
    first.as_os_str().to_str().expect("UTF-8").trim_end_matches(".rs").to_owned()
}

fn is_test_file(path: &Path) -> bool {
    path.components().any(|part| {
        part.as_os_str() == "tests" || part.as_os_str() == "tests.rs" || part.as_os_str() == "testing.rs"
    })
}

#[test]
fn imports_point_one_way() {
    let allowed = allowed();
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for path in files {
        let module = module_of(&path);
        if module == "lib" || module == "main" || is_test_file(&path) {
            continue;
        }
        seen.insert(module.clone());
        let may =
            allowed.get(&module).unwrap_or_else(|| panic!("`{module}` has no row in docs/architecture.md"));
        let source = fs::read_to_string(&path).expect("a source");
        for import in imports(without_tests(&source)) {
            if import != module && !may.contains(&import) {
                wrong.push(format!("{}: `{module}` may not import `{import}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "the table in docs/architecture.md says otherwise:\n{}", wrong.join("\n"));
    let listed: BTreeSet<_> = allowed.keys().cloned().collect();
    assert_eq!(seen, listed, "the table has a row for each module, and no other");
}

#[test]
fn the_table_has_no_circle() {
    let allowed = allowed();
    let mut left: BTreeSet<_> = allowed.keys().cloned().collect();
    while !left.is_empty() {
        let free: BTreeSet<_> =
            left.iter().filter(|module| allowed[*module].is_disjoint(&left)).cloned().collect();
        assert!(!free.is_empty(), "these import each other: {left:?}");
        left = &left - &free;
    }
}

#[test]
fn only_the_outbox_names_redb() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    for path in files.into_iter().filter(|path| module_of(path) != "outbox") {
        let source = fs::read_to_string(&path).expect("a source");
        let code = source.lines().map(|line| line.split("//").next().unwrap_or_default());
        assert!(!code.into_iter().any(|line| line.contains("redb::")), "{} names redb", path.display());
    }
}

#[test]
fn imports_are_found_however_they_are_written() {
    let source =
        "use crate::{\n    a::{b, c},\n    d,\n};\nuse crate::e::f;\nfn g() { crate::h::i() } // crate::j\n";
    let expected = ["a", "d", "e", "h"].map(str::to_owned);
    assert_eq!(imports(source), BTreeSet::from(expected));
}
