//! Which lines are shown: what [`super::VARIABLE`] says, in the language of `tracing_subscriber::filter::Targets`: levels, and
//! levels of modules. `EnvFilter` knows spans and fields besides, which nobody here needs, and brings regular expressions.
//!
//! One that cannot be read is no reason not to start: `info` holds, and a line says so.

use std::ffi::OsString;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

use super::VARIABLE;

/// Where nothing is said.
const USUAL: LevelFilter = LevelFilter::INFO;
/// What stands for a level.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The filter, and what is wrong with what was given.
pub(super) fn read(given: Option<OsString>) -> (Targets, Option<String>) {
    let usual = || Targets::new().with_default(USUAL);
    let given = given.unwrap_or_default();
    if given.is_empty() {
        return (usual(), None);
    }
    let refused = |why: &str| {
        let levels = LEVELS.join(", ");
        let problem = format!(
            "{VARIABLE} cannot be used ({why}), so `{USUAL}` holds: give a level ({levels}) or a filter such as `info,posthaste::delivery=debug`"
        );
        (usual(), Some(problem))
    };
    let Some(text) = given.to_str() else { return refused("it is not UTF-8") };
    if let Some(word) = text.split(',').map(str::trim).find(|part| is_misspelt(part)) {
        return refused(&format!("{word:?} is no level"));
    }
    // It takes an empty part for `error`, and a space for the beginning of a name.
    let parts: Vec<_> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return (usual(), None);
    }
    match parts.join(",").parse::<Targets>() {
        Ok(filter) => (filter, None),
        Err(error) => refused(&error.to_string()),
    }
}

/// A single word would be taken for the name of a module, and nothing be shown but what that says.
fn is_misspelt(part: &str) -> bool {
    let is_word =
        !part.is_empty() && part.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    let is_level = LEVELS.iter().any(|level| part.eq_ignore_ascii_case(level))
        || matches!(part, "0" | "1" | "2" | "3" | "4" | "5");
    is_word && !is_level && part != env!("CARGO_CRATE_NAME")
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn what_cannot_be_used_is_named_and_info_holds() {
        for (given, shown, problem) in [
            (None, "info", None),
            (Some(&b""[..]), "info", None),
            (Some(b"debug"), "debug", None),
            (Some(b"WARN"), "warn", None),
            (Some(b"posthaste"), "posthaste=trace", None),
            (Some(b"info,posthaste::delivery=debug"), "posthaste::delivery=debug,info", None),
            (Some(b" info, ,posthaste::delivery=debug,"), "posthaste::delivery=debug,info", None),
            (Some(b" , "), "info", None),
            (Some(b"verbose"), "info", Some("\"verbose\" is no level")),
            (Some(b"info,debgu"), "info", Some("\"debgu\" is no level")),
            (Some(b"posthaste=loud"), "info", Some("error parsing level filter")),
            (Some(b"\xff"), "info", Some("it is not UTF-8")),
        ] {
            let (filter, said) = read(given.map(|bytes| OsString::from_vec(bytes.to_vec())));
            assert_eq!(filter.to_string(), shown, "{given:?}");
            match problem {
                None => assert_eq!(said, None, "{given:?}"),
                Some(part) => {
                    assert!(said.as_ref().is_some_and(|said| said.contains(part)), "{given:?}: {said:?}");
                }
            }
        }
    }
}
