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
}
