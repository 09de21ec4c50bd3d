//! Where lines go, and in which form.
//!
//! systemd says in `$JOURNAL_STREAM` which file the standard error is that it has given to a service, as `DEVICE:INODE`. Where
//! that is so journald is spoken to itself, for then each field arrives; else lines go to standard error. What
//! [`super::FORMAT`] says goes before that: then lines go there in any case.

use std::{ffi::OsString, io};

use rustix::fs::fstat;

use super::FORMAT;

/// Where lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// journald's own socket.
    Journal,
    /// Standard error.
    Lines {
        /// How they look.
        form: Form,
        /// With the priority in front, as `<4>`: journald reads them.
        priorities: bool,
    },
}

/// How lines on standard error look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Text,
    /// For programs: a JSON object a line.
    Json,
}

impl Place {
    /// Where they go if the variable says `format`, and standard error is the journal's or not; and what is wrong with the
    /// variable.
    pub(super) fn choose(format: Option<OsString>, is_journal: bool) -> (Self, Option<String>) {
        let usual =
            if is_journal { Self::Journal } else { Self::Lines { form: Form::Text, priorities: false } };
        let format = format.unwrap_or_default();
        let form = match format.to_str() {
            Some("") => return (usual, None),
            Some("text") => Form::Text,
            Some("json") => Form::Json,
            _ => {
                let given = format.display();
                let problem = format!(
                    "{FORMAT} is `{given}`, which there is not: give `text` or `json`, or leave it out"
                );
                return (usual, Some(problem));
            }
        };
        (Self::Lines { form, priorities: is_journal }, None)
    }
}

/// Whether standard error is what systemd has connected with the journal.
pub(super) fn is_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|file| stream.to_str() == Some(&format!("{}:{}", file.st_dev, file.st_ino)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_goes_before_what_is_found() {
        const TEXT: Place = Place::Lines { form: Form::Text, priorities: false };
        for (format, is_journal, expected) in [
            (None, false, TEXT),
            (Some(""), false, TEXT),
            (None, true, Place::Journal),
            (Some(""), true, Place::Journal),
            (Some("text"), false, TEXT),
            (Some("text"), true, Place::Lines { form: Form::Text, priorities: true }),
            (Some("json"), false, Place::Lines { form: Form::Json, priorities: false }),
            (Some("json"), true, Place::Lines { form: Form::Json, priorities: true }),
        ] {
            assert_eq!(Place::choose(format.map(OsString::from), is_journal), (expected, None), "{format:?}");
        }
    }

    #[test]
    fn an_unknown_form_is_named_with_those_there_are() {
        for (is_journal, expected) in [(true, Place::Journal), (false, Place::choose(None, false).0)] {
            let (place, problem) = Place::choose(Some("xml".into()), is_journal);
            assert_eq!(place, expected);
            let problem = problem.expect("it is wrong");
            assert!(
                ["`xml`", "`text`", "`json`", FORMAT].iter().all(|part| problem.contains(part)),
                "{problem}"
            );
        }
    }
}
