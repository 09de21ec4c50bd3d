//! Lines for people: `2026-11-22T02:57:00.123Z  WARN what was said field=value`.
//!
//! A record begins in the first column, and nothing else does: what has lines of its own goes on indented, and other control
//! characters are shown as escapes. So nobody whose words are logged can write a line that was never said.

use std::fmt::Write as _;

use super::record::{Record, Value};

/// The lines of a record, the last with its end. With `priorities` each begins with the number of its priority, by which
/// journald knows it.
pub(super) fn lines(record: &Record, priorities: bool) -> String {
    let whole = match record.heading {
        Some(heading) => format!("{heading}{}", record.message),
        None => format!("{} {:>5} {}", record.at, record.level, said(record).replace('\n', "\n  ")),
    };
    let mut text = String::with_capacity(whole.len() + 8);
    for line in whole.trim_end_matches('\n').split('\n') {
        if priorities {
            write!(text, "<{}>", record.priority()).expect("a String takes all");
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// What a record says, with its fields: the same wherever people read it.
pub(super) fn said(record: &Record) -> String {
    let mut text = String::with_capacity(record.message.len() + 16 * record.fields.len());
    escape(&record.message, |letter| letter == '\n', &mut text);
    for (name, value) in &record.fields {
        text.extend([" ", name, "="]);
        match value {
            Value::Text(value) => write!(text, "{value:?}").expect("a String takes all"),
            value => escape(&value.to_string(), |_| false, &mut text),
        }
    }
    text
}

/// Writes a text with its control characters as escapes, but for those that `may` stay.
fn escape(text: &str, may: impl Fn(char) -> bool, out: &mut String) {
    for letter in text.chars() {
        if letter.is_control() && !may(letter) {
            out.extend(letter.escape_debug());
        } else {
            out.push(letter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::record::tests::said as heard, *};
    use crate::{logging::Kind, model::time::Timestamp};

    #[test]
    fn a_line_says_when_how_bad_and_what() {
        let [record] = heard(|| {
            tracing::warn!(kind = Kind::DoorShut.word(), text = "a b", shown = %"a b", none = "", count = 2, "it is so");
        })
        .try_into()
        .expect("one");
        let said = r#"it is so text="a b" shown=a b none="" count=2"#;
        let expected = format!("{}  WARN {said}\n", Timestamp::RELEASED);
        assert_eq!(lines(&record, false), expected);
        assert_eq!(lines(&record, true), format!("<4>{expected}"));
    }

    #[test]
    fn nobody_can_write_a_line_that_was_not_said() {
        let forged = "a\n2026-11-22T02:57:00.123Z ERROR forged\r\x1b[2K";
        let [record] = heard(|| tracing::info!(file = forged, shown = %"a\nb\t", "the file {forged}"))
            .try_into()
            .expect("one");
        let text = lines(&record, false);
        let [first, second] = text.lines().collect::<Vec<_>>().try_into().expect("two");
        assert_eq!(first, format!("{}  INFO the file a", Timestamp::RELEASED));
        assert_eq!(
            second,
            format!(r"  2026-11-22T02:57:00.123Z ERROR forged\r\u{{1b}}[2K file={forged:?} shown=a\nb\t")
        );
    }

    #[test]
    fn each_line_has_its_priority_and_a_last_word_is_as_it_is() {
        let record = Record::last_word(Timestamp::RELEASED, "posthaste: ", "error: a\n  --> b\n");
        assert_eq!(lines(&record, false), "posthaste: error: a\n  --> b\n");
        assert_eq!(lines(&record, true), "<3>posthaste: error: a\n<3>  --> b\n");
    }
}
