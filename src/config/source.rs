//! The files that were read, and where in them a value stands: what an error needs to show its place.
//!
//! A line is shown as it was written, except that what may be a secret in it is replaced by `"…"`, control
//! characters by `\u{fffd}`, and that of a very long line only the part around the place is shown.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;

/// The most characters of a source line that an error shows.
const LINE_WIDTH: usize = 120;
/// What stands for a hidden value.
const HIDDEN: &str = "\"…\"";

/// A place in one of the files: a range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Which file, in the order of reading.
    pub(super) file: usize,
    /// The first byte.
    pub(super) start: usize,
    /// Behind the last byte.
    pub(super) end: usize,
}

impl Place {
    /// `span` in the file with the number `file`.
    pub(super) const fn new(file: usize, span: &Range<usize>) -> Self {
        Self { file, start: span.start, end: span.end }
    }
}

/// A file's name and text.
struct Source {
    path: Arc<Path>,
    /// Where each line begins but the first.
    lines: Vec<usize>,
    /// Wiped when dropped, since secrets may stand in it.
    text: Zeroizing<String>,
    /// Byte ranges that are never shown, ascending.
    hidden: Vec<Range<usize>>,
}

/// All files of one reading, in order.
#[derive(Default)]
pub(super) struct Sources {
    files: Vec<Source>,
}

/// A place as people are told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) file: PathBuf,
    /// From 1.
    pub(super) line: usize,
    /// In characters, from 1.
    pub(super) column: usize,
    /// The line, made fit to be shown.
    pub(super) text: String,
    /// What stands under the line before the first caret: as many blanks (and tabs) as it takes.
    pub(super) indent: String,
    /// How many carets; at least 1.
    pub(super) carets: usize,
}

impl Sources {
    /// Adds a file and returns its number.
    pub(super) fn add(&mut self, path: PathBuf, text: Zeroizing<String>) -> usize {
        let lines = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        self.files.push(Source { path: path.into(), lines, text, hidden: Vec::new() });
        self.files.len() - 1
    }

    /// The text of a file.
    pub(super) fn text(&self, file: usize) -> &str {
        &self.files[file].text
    }

    /// What was written at `place`, never to be shown as it is.
    pub(super) fn written(&self, place: Place) -> &str {
        self.files[place.file].text.get(place.start..place.end).unwrap_or_default()
    }

    /// Byte ranges of `file` that must never be shown.
    pub(super) fn hide(&mut self, file: usize, mut spans: Vec<Range<usize>>) {
        spans.sort_by_key(|span| span.start);
        self.files[file].hidden = spans;
    }

    /// The bytes of the line at `place` from where `hidden` says on, to its end.
    pub(super) fn hidden_in_line(
        &self,
        place: Place,
        hidden: impl FnOnce(&str) -> Option<usize>,
    ) -> Vec<Range<usize>> {
        let text = self.text(place.file);
        let line = line_around(text, floor_char(text, place.start));
        hidden(&text[line.clone()]).map(|at| line.start + at..line.end).into_iter().collect()
    }

    /// The file, line and column of `place`, from 1.
    pub(super) fn locate(&self, place: Place) -> (Arc<Path>, usize, usize) {
        let source = &self.files[place.file];
        let start = floor_char(&source.text, place.start);
        let before = source.lines.partition_point(|line| *line <= start);
        let begin = before.checked_sub(1).map_or(0, |last| source.lines[last]);
        (Arc::clone(&source.path), before + 1, source.text[begin..start].chars().count() + 1)
    }

    /// The line of `place`, and where in it to point.
    pub(super) fn show(&self, place: Place) -> Shown {
        let source = &self.files[place.file];
        let text = source.text.as_str();
        let start = floor_char(text, place.start);
        let line = line_around(text, start);
        let marked = start..floor_char(text, place.end).clamp(start, line.end.max(start));
        let (path, number, column) = self.locate(place);
        let (shown, indent, carets) = Line::new(text, line.clone(), &source.hidden, &marked).fit();
        Shown { file: path.to_path_buf(), line: number, column, text: shown, indent, carets }
    }
}

/// The greatest character boundary not behind `at`.
fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The line that the byte `at` is in, without its end.
fn line_around(text: &str, at: usize) -> Range<usize> {
    let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
    let end = text[at..].find('\n').map_or(text.len(), |found| at + found);
    // Where `at` is the line feed itself, the carriage return before it belongs to the end as well.
    let end = if text[start..end].ends_with('\r') { end - 1 } else { end };
    start..end
}

/// A line as it may be shown, with the marked characters' range in it.
struct Line {
    chars: Vec<char>,
    marked: Range<usize>,
}

impl Line {
    fn new(text: &str, line: Range<usize>, hidden: &[Range<usize>], marked: &Range<usize>) -> Self {
        let mut chars = Vec::new();
        let (mut from, mut to) = (None, None);
        let mut last_hidden = None;
        for (at, c) in text[line.clone()].char_indices().map(|(at, c)| (line.start + at, c)) {
            let cover = hidden.iter().position(|span| span.contains(&at));
            if at >= marked.start && from.is_none() {
                // A place inside of something hidden is shown as its beginning.
                let inside = cover.is_some() && cover == last_hidden;
                from = Some(if inside { chars.len() - HIDDEN.chars().count() } else { chars.len() });
            }
            if at >= marked.end && to.is_none() {
                to = Some(chars.len());
            }
            match cover {
                Some(_) if cover == last_hidden => {}
                Some(_) => chars.extend(HIDDEN.chars()),
                None => chars.push(if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }),
            }
            last_hidden = cover;
        }
        let from = from.unwrap_or(chars.len());
        let to = to.unwrap_or(chars.len()).max(from);
        Self { chars, marked: from..to }
    }

    /// The text, what stands before the carets, and how many of these.
    fn fit(self) -> (String, String, usize) {
        let length = self.chars.len();
        let first = if length <= LINE_WIDTH || self.marked.end <= LINE_WIDTH {
            0
        } else {
            self.marked.start.saturating_sub(LINE_WIDTH / 4)
        };
        let end = length.min(first + LINE_WIDTH);
        let mut text = String::new();
        let mut indent = String::new();
        if first > 0 {
            text.push('…');
            indent.push(' ');
        }
        text.extend(&self.chars[first..end]);
        if end < length {
            text.push('…');
        }
        let before = &self.chars[first..self.marked.start.clamp(first, end)];
        indent.extend(before.iter().map(|c| if *c == '\t' { '\t' } else { ' ' }));
        let carets = self.marked.end.min(end).saturating_sub(self.marked.start).max(1);
        (text, indent, carets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: Range<usize>, hidden: Vec<Range<usize>>) -> Shown {
        let mut sources = Sources::default();
        let file = sources.add(PathBuf::from("a.toml"), Zeroizing::new(text.to_owned()));
        sources.hide(file, hidden);
        sources.show(Place::new(file, &span))
    }

    #[test]
    fn places() {
        for (text, span, line, column, shown_text, indent, carets) in [
            ("a = 1\nbc = 2\r\n", 6..8, 2, 1, "bc = 2", "", 2),
            ("\tä = 1", 1..3, 1, 2, "\tä = 1", "\t", 1),
            ("", 0..0, 1, 1, "", "", 1),
            ("a\n", 2..2, 2, 1, "", "", 1),
            ("a = '''\nb'''", 4..12, 1, 5, "a = '''", "    ", 3),
            ("a\u{1b}b", 2..3, 1, 3, "a\u{fffd}b", "  ", 1),
            ("a", 7..9, 1, 2, "a", " ", 1),
        ] {
            let shown = shown(text, span, Vec::new());
            assert_eq!(
                (shown.line, shown.column, shown.text.as_str(), shown.indent.as_str(), shown.carets),
                (line, column, shown_text, indent, carets),
                "{text:?}"
            );
        }
    }

    #[test]
    fn hidden_values_are_not_shown() {
        for (span, indent, carets) in [(4..11, 4, 3), (6..8, 4, 3), (13..14, 9, 1)] {
            let shown = shown("a = \"xyzzy\", b", span, vec![4..11, 20..30]);
            assert_eq!(shown.text, "a = \"…\", b");
            assert_eq!((shown.indent.len(), shown.carets), (indent, carets));
        }
    }

    #[test]
    fn of_a_long_line_the_part_around_the_place_is_shown() {
        let text = format!("{}here{}", "x".repeat(500), "y".repeat(500));
        let shown = shown(&text, 500..504, Vec::new());
        assert_eq!(shown.text.chars().count(), LINE_WIDTH + 2);
        let at: String = shown.text.chars().skip(shown.indent.len()).take(shown.carets).collect();
        assert_eq!(at, "here");
    }
}
