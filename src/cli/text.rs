//! How things are written for people: times, sizes, and texts that others chose.

use std::{borrow::Cow, fmt::Write as _, time::Duration};

use crate::model::time::Timestamp;

/// `2026-11-22 02:57:00`, in UTC.
pub fn time(at: Timestamp) -> String {
    // RFC 3339 in UTC: `YYYY-MM-DDTHH:MM:SS.mmmZ`, of which the fraction and the letters are noise.
    let text = at.to_string();
    text.split('.').next().unwrap_or(&text).replace('T', " ")
}

/// `02:57:00.123`, in UTC.
pub fn clock_time(at: Timestamp) -> String {
    let text = at.to_string();
    text.split_once('T').map_or(text.as_str(), |(_, time)| time).trim_end_matches('Z').to_owned()
}

/// `in 4m` or `3m ago`.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let (ahead, behind) = (at.since(now), now.since(at));
    if ahead.as_secs() > 0 {
        format!("in {}", rough(ahead))
    } else if behind.as_secs() > 0 {
        format!("{} ago", rough(behind))
    } else {
        "now".to_owned()
    }
}

/// `2026-11-22 02:57:00 (3m ago)`.
pub fn time_and_relative(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", time(at), relative(at, now))
}

/// A duration to one or two digits of its largest unit.
fn rough(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// `1.5 KiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (factor, unit) in UNITS {
        if bytes >= factor {
            let tenths = u128::from(bytes) * 10 / u128::from(factor);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

/// `1.25 ms`, `132 ms`, `12.0 s`.
pub fn millis(millis: f64) -> String {
    if millis >= 10_000.0 {
        format!("{:.1} s", millis / 1000.0)
    } else if millis >= 10.0 {
        format!("{millis:.0} ms")
    } else {
        format!("{millis:.2} ms")
    }
}

/// `text` in one line that cannot steer a terminal: control characters, and those that turn the direction of
/// what follows, are written as escapes.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            other if is_unsafe(other) => {
                write!(safe, "\\u{{{:x}}}", u32::from(other)).expect("a String takes all");
            }
            other => safe.push(other),
        }
    }
    Cow::Owned(safe)
}

/// The first `most` lines of `text`, each [`plain`] and cut to `width` characters; and whether that was all of it.
pub fn beginning(text: &str, most: usize, width: usize) -> (Vec<String>, bool) {
    let mut whole = true;
    let mut lines = Vec::new();
    for line in text.lines() {
        if lines.len() == most {
            whole = false;
            break;
        }
        let safe = plain(line);
        match safe.char_indices().nth(width) {
            Some((cut, _)) => {
                whole = false;
                lines.push(format!("{}…", &safe[..cut]));
            }
            None => lines.push(safe.into_owned()),
        }
    }
    (lines, whole)
}

/// `line` in lines of at most `width` columns, all but the first behind `indent` blanks, without cutting a word: what stands in
/// backquotes is one, so that a command can be copied. Colours take no column.
pub fn fold(line: &str, width: usize, indent: usize) -> String {
    let mut folded = String::with_capacity(line.len() + 16);
    let mut column = 0;
    for word in words(line) {
        let columns = columns(word);
        if column > indent && column + columns > width && !word.trim().is_empty() {
            folded.truncate(folded.trim_end_matches(' ').len());
            folded.push('\n');
            folded.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        }
        folded.push_str(word);
        column += columns;
    }
    folded
}

/// The pieces of a line between which it may be folded: words, and the blanks between them.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut blank = None;
    let mut starts = vec![0];
    for (at, character) in line.char_indices() {
        quoted ^= character == '`';
        let is_blank = character == ' ' && !quoted;
        if blank.is_some_and(|before| before != is_blank) {
            starts.push(at);
        }
        blank = Some(is_blank);
    }
    starts.push(line.len());
    (1..starts.len()).map(move |index| &line[starts[index - 1]..starts[index]])
}

/// How many columns of a terminal `text` takes.
pub fn columns(text: &str) -> usize {
    let mut in_escape = false;
    let counts = |character: char| match character {
        '\u{1b}' => {
            in_escape = true;
            false
        }
        'm' if in_escape => {
            in_escape = false;
            false
        }
        _ => !in_escape,
    };
    text.chars().map(counts).filter(|counts| *counts).count()
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_795_348_800_000;

    #[test]
    fn times() {
        let noon = Timestamp::from_millis(NOON);
        assert_eq!(time(noon), "2026-11-22 12:00:00");
        assert_eq!(clock_time(noon.plus(Duration::from_millis(7))), "12:00:00.007");
        for (offset, text) in [
            (0, "now"),
            (999, "now"),
            (1_000, "in 1s"),
            (119_000, "in 119s"),
            (240_000, "in 4m"),
            (7_200_000, "in 2h"),
            (172_800_000, "in 2d"),
        ] {
            let later = noon.plus(Duration::from_millis(offset));
            assert_eq!(relative(later, noon), text);
            let past = relative(noon, later);
            assert_eq!(past, if offset < 1_000 { "now".to_owned() } else { format!("{} ago", &text[3..]) });
        }
        let later = noon.plus(Duration::from_secs(180));
        assert_eq!(time_and_relative(noon, later), "2026-11-22 12:00:00 (3m ago)");
    }

    #[test]
    fn sizes_and_durations() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (u64::MAX, "16777215.9 TiB")] {
            assert_eq!(size(bytes), text);
        }
        for (value, text) in [(0.5, "0.50 ms"), (9.876, "9.88 ms"), (132.4, "132 ms"), (30_000.0, "30.0 s")] {
            assert_eq!(millis(value), text);
        }
    }

    #[test]
    fn what_others_write_cannot_steer_the_terminal() {
        assert_eq!(plain("ümlaut, 漢字"), "ümlaut, 漢字");
        assert_eq!(plain("a\u{1b}[2Jb\r\n\u{9b}c\u{202e}d"), "a\\u{1b}[2Jb\\r\\n\\u{9b}c\\u{202e}d");
        let (lines, whole) = beginning("one\ntwo\u{7}\nthree", 2, 80);
        assert_eq!((lines, whole), (vec!["one".to_owned(), "two\\u{7}".to_owned()], false));
        assert_eq!(beginning("äöü", 5, 2), (vec!["äö…".to_owned()], false));
        assert_eq!(beginning("one\n", 2, 80), (vec!["one".to_owned()], true));
    }

    #[test]
    fn lines_are_folded_between_words() {
        for (line, width, folded) in [
            ("", 10, ""),
            ("word      one two", 40, "word      one two"),
            ("word      one two", 15, "word      one\n    two"),
            ("word one, two", 9, "word one,\n    two"),
            ("word `posthaste endpoint enable x` on", 12, "word\n    `posthaste endpoint enable x`\n    on"),
            ("unbroken-word-that-is-long", 5, "unbroken-word-that-is-long"),
            ("    unbroken-word next", 8, "    unbroken-word\n    next"),
            ("\u{1b}[31mdown\u{1b}[0m one two", 8, "\u{1b}[31mdown\u{1b}[0m one\n    two"),
            ("`never closed and on", 6, "`never closed and on"),
        ] {
            assert_eq!(fold(line, width, 4), folded, "{line:?} in {width}");
        }
        for (text, count) in [("", 0), ("\u{1b}[1mäö\u{1b}[0m", 2), ("m", 1)] {
            assert_eq!(columns(text), count, "{text:?}");
        }
    }
}
