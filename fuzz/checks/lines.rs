//! Lines out of a stream: the same in any chunking, as long as is allowed, and no more held than that.
//!
//! The first byte of an input is the limit, the second says how the rest is cut.

use bytes::Bytes;
use posthaste::ingest::lines::{Line, Lines};

/// What a stream came to: its lines, and what stands behind the last line's end.
type Split = (Vec<Line>, Option<(u64, Bytes)>);

pub(crate) fn check(input: &[u8]) {
    let Some((&[limit, seed], input)) = input.split_first_chunk() else { return };
    let limit = usize::from(limit);
    let expected = by_definition(input, limit);
    assert_eq!(split(&[input], limit), expected, "whole");
    assert_eq!(split(&super::chunks(input, seed), limit), expected, "in pieces");
    assert_eq!(split(&input.chunks(1).collect::<Vec<_>>(), limit), expected, "byte by byte");
}

fn split(chunks: &[&[u8]], limit: usize) -> Split {
    let mut lines = Lines::new(limit);
    let mut found = Vec::new();
    for chunk in chunks {
        lines.buffer().extend_from_slice(chunk);
        while let Some(line) = lines.next_line() {
            found.push(line);
        }
        assert!(lines.held() <= limit, "{} bytes are held", lines.held());
    }
    (found, lines.rest())
}

/// The same from the whole of it.
fn by_definition(input: &[u8], limit: usize) -> Split {
    let mut pieces: Vec<_> = (1..).zip(input.split(|byte| *byte == b'\n')).collect();
    let (number, last) = pieces.pop().expect("at least one");
    let is_blank = |line: &[u8]| line.trim_ascii().is_empty();
    let line = |(number, line): (u64, &[u8])| match line {
        line if line.len() > limit => Some(Line::TooLong(number)),
        line if is_blank(line) => None,
        line => Some(Line::Whole(number, Bytes::copy_from_slice(line))),
    };
    let mut lines: Vec<_> = pieces.into_iter().filter_map(line).collect();
    if last.len() > limit {
        lines.push(Line::TooLong(number));
        return (lines, None);
    }
    (lines, (!is_blank(last)).then(|| (number, Bytes::copy_from_slice(last))))
}
