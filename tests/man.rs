//! The manual pages: that they say all that the program knows, that man(1) makes of them what they mean, and that what is to be
//! copied off them works.

mod support;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use support::{
    help::{help, leaves},
    program::is_there,
    skip,
    world::{World, posthaste, stderr, stdout},
};
use tempfile::TempDir;

const PAGES: [&str; 3] = ["posthaste.1", "posthaste.toml.5", "posthaste.8"];

fn printed(page: &str) -> String {
    let output = posthaste().args(["man", page]).output().expect("the binary was built");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

/// The text of roff, without fonts and escapes.
fn plain(roff: &str) -> String {
    let signs = [("\\fB", ""), ("\\fI", ""), ("\\fR", ""), ("\\&", ""), ("\\-", "-"), ("\\(aq", "'")];
    let more = [("\\(dq", "\""), ("\\(ga", "`"), ("\\(ha", "^"), ("\\(ti", "~"), ("\\e", "\\")];
    signs.iter().chain(&more).fold(roff.to_owned(), |text, (sign, meant)| text.replace(sign, meant))
}

/// What stands below a heading, up to the next of its rank or above.
fn below<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, text) = page.split_once(&format!("{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let text = text.split("\n.SH ").next().expect("the first");
    if heading.starts_with(".SS") { text.split("\n.SS ").next().expect("the first") } else { text }
}

/// The lines that are terms.
fn terms(text: &str) -> Vec<&str> {
    text.split(".TP\n").skip(1).filter_map(|rest| rest.lines().next()).collect()
}

/// What is to be copied, piece by piece.
fn literals(text: &str) -> Vec<String> {
    text.split(".nf\n").skip(1).map(|rest| plain(rest.split(".fi\n").next().expect("the first"))).collect()
}

/// The long names of the options that a help shows. What it says of them stands further to the right.
fn options(help: &str) -> Vec<&str> {
    let (_, options) = help.split_once("\nOptions:\n").expect("every command has --help");
    let options = options.split("\nExample:\n").next().expect("the first").lines();
    let options = options.filter(|line| line.starts_with("  -") || line.starts_with("      --"));
    options.filter_map(|line| line.get(line.find("--")?..)?.split([' ', ',']).next()).collect()
}

/// A document of the project.
fn document(path: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a document")
}

#[test]
fn every_command_with_every_option_is_on_the_page() {
    let page = plain(&printed("posthaste.1"));
    let everybodys = plain(below(&page, ".SH \"OPTIONS\""));
    let leaves = leaves();
    assert!(leaves.len() > 20, "{leaves:?}");
    for words in leaves {
        let command = format!("posthaste {}", words.join(" "));
        let part = below(&page, &format!(".SS \"{command}\""));
        assert!(part.contains(&format!(".ti -4\n{command}")), "no usage of {command}:\n{part}");
        assert!(literals(part).concat().contains(&command), "no example of {command}:\n{part}");
        let (own, common) = (terms(part).join("\n"), terms(&everybodys).join("\n"));
        let help = help(&words);
        let names = options(&help);
        assert!(names.contains(&"--help") && names.contains(&"--json"), "{names:?}");
        for name in names {
            let is_told = |terms: &str| terms.split([' ', '\n', ',']).any(|word| word == name);
            assert!(is_told(&own) || is_told(&common), "{command} {name}: {part}");
        }
    }
}

#[test]
fn every_key_is_on_the_page() {
    let page = plain(&printed("posthaste.toml.5"));
    let document = document("docs/configuration.md");
    let mut keys = 0;
    for section in document.split("\n## `[").skip(1) {
        let (heading, rows) = section.split_once('`').expect("the heading's end");
        let part = below(&page, &format!(".SS \"[{heading}\""));
        for row in rows.lines().skip_while(|line| *line != "| --- | --- | --- | --- |").skip(1) {
            let Some(cells) = row.strip_prefix("| ") else { break };
            let [name, _, default, doc] = cells.splitn(4, " | ").collect::<Vec<_>>()[..] else {
                panic!("{row}")
            };
            let name = name.trim_matches(['`', '*']);
            let (_, told) =
                part.split_once(&format!(".TP\n{name}\n")).unwrap_or_else(|| panic!("{name}: {part}"));
            let told = told.split(".TP\n").next().expect("the first");
            let default = match default {
                "**required**" => "Required.".to_owned(),
                default => format!("Default: {}.", default.replace('`', "")),
            };
            assert!(told.contains(&default), "[{heading} {name}: no {default:?} in {told}");
            let waits = doc.contains("*From the next start on.*");
            assert_eq!(told.contains("From the next start on."), waits, "[{heading} {name}: {told}");
            keys += 1;
        }
    }
    assert!(keys > 90, "{keys}");
}

#[test]
fn the_exit_codes_are_those_of_the_program() {
    let document = document("docs/operations.md");
    let (_, table) = document.split_once("\n| exit code |").expect("its table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let told: Vec<_> = rows.map(|row| row.split('|').nth(1).expect("a code").trim().to_owned()).collect();
    let page = plain(&printed("posthaste.1"));
    assert_eq!(terms(below(&page, ".SH \"EXIT STATUS\"")), told);
    let page = plain(&printed("posthaste.8"));
    assert_eq!(terms(below(&page, ".SH \"EXIT STATUS\"")), ["0", "64", "70", "74", "75", "77", "78"]);
}

#[test]
fn the_configuration_of_the_page_passes_its_check() {
    let page = printed("posthaste.toml.5");
    let examples = literals(below(&page, ".SH \"EXAMPLES\""));
    let [first, second] = &examples[..] else { panic!("{examples:?}") };
    let world = World::new("");
    fs::create_dir_all(world.path("conf.d")).expect("a directory");
    fs::create_dir(world.path("spool")).expect("a directory");
    let first = first
        .replace("[store]\n", "[store]\npath = \"outbox.redb\"\n")
        .replace("/var/spool/posthaste", "spool")
        // A group that there is.
        .replace("posthaste-producers", "root");
    fs::write(world.config(), first).expect("a file");
    fs::write(world.path("conf.d/50-archive.toml"), second).expect("a file");
    let output = world.cli(&["check", "--config", world.config().to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    for endpoint in ["default/erp", "default/partner", "default/archive"] {
        assert!(stdout(&output).contains(endpoint), "{}", stdout(&output));
    }
}

#[test]
fn the_pages_are_for_people_and_always_the_same() {
    for page in PAGES {
        let first = printed(page);
        assert_eq!(first, printed(page));
        let (name, section) = page.rsplit_once('.').expect("a section");
        let title = format!("\n.TH \"{}\" {section} \"\" \"posthaste ", name.to_uppercase());
        assert!(first.contains(&title) && first.is_ascii(), "{first}");
    }
    for args in [&["man"][..], &["man", "posthaste.7"], &["man", "posthaste.1", "--json"]] {
        let output = posthaste().args(args).output().expect("the binary was built");
        assert_eq!(output.status.code(), Some(64), "{args:?}: {}", stderr(&output));
    }
}

/// man(1) with these arguments and a page in a file, on a terminal of 80 columns.
fn man(args: &[&str], page: &str) -> Output {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join(page);
    fs::write(&file, printed(page)).expect("a file");
    let mut command = Command::new("man");
    command.args(args).arg(file).envs([("MANWIDTH", "80"), ("LC_ALL", "C.UTF-8"), ("TERM", "dumb")]);
    command.env_remove("MAN_KEEP_FORMATTING").env_remove("MANOPT").output().expect("it is there")
}

#[test]
fn man_makes_of_them_what_they_mean() {
    for command in ["man", "lexgrog"] {
        if !is_there(command) {
            return skip(&format!("there is no {command} here to judge the manual pages"), true);
        }
    }
    for page in PAGES {
        let set = man(&["--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l"], page);
        assert_eq!((set.status.code(), stderr(&set).as_str()), (Some(0), ""), "{page}");
        let shown = man(&["-P", "cat", "-l"], page);
        let shown = stdout(&shown);
        let longest = shown.lines().max_by_key(|line| line.chars().count()).expect("a line");
        assert!(longest.chars().count() <= 80, "{page}: {longest}");
        // As they are to be typed.
        if page == "posthaste.1" {
            for typed in [
                "'{\"media\":\"m-17\"}' --id m-17-ready",
                "~/.config/fish",
                "sha256=",
                "jq -r '.items[] | .name'",
            ] {
                assert!(shown.contains(typed), "{typed} is not in {shown}");
            }
        }
        let directory = TempDir::new().expect("a directory");
        let file = directory.path().join(page);
        fs::write(&file, printed(page)).expect("a file");
        let named = Command::new("lexgrog").arg(&file).output().expect("it is there");
        let (name, _) = page.rsplit_once('.').expect("a section");
        assert!(stdout(&named).contains(&format!(": \"{name} - ")), "{}{}", stdout(&named), stderr(&named));
    }
}
