//! Lines out of a stream of bytes, with a bound on their length; sans-io.
//!
//! The same bytes in any chunking give the same lines. A line that is too long is reported once and skipped to its
//! end; blank lines are passed over.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

/// Splits what is pushed into lines.
#[derive(Debug)]
pub struct Lines {
    buffer: BytesMut,
    /// How much of `buffer` was searched for a line's end already.
    searched: usize,
    limit: usize,
    skipping: bool,
    number: u64,
}

/// A line, or what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its end, never blank; with its number, from 1.
    Whole(u64, Bytes),
    /// The line with this number is longer than the limit; it is skipped.
    TooLong(u64),
}

impl Lines {
    /// Lines of at most `limit` bytes without their end.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, limit, skipping: false, number: 0 }
    }

    /// The buffer to read into; at most the limit and what one read adds.
    pub const fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// How many lines have ended.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// How many bytes are held.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// The next line; `None` when more bytes are needed.
    pub fn next_line(&mut self) -> Option<Line> {
        loop {
            let end = memchr(b'\n', &self.buffer[self.searched..]);
            let Some(end) = end.map(|end| self.searched + end) else { return self.wait_for_more() };
            let line = self.buffer.split_to(end).freeze();
            self.buffer.advance(1);
            self.searched = 0;
            self.number += 1;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if line.len() > self.limit {
                return Some(Line::TooLong(self.number));
            }
            if !line.trim_ascii().is_empty() {
                return Some(Line::Whole(self.number, line));
            }
        }
    }

    /// At the end of the stream: what stands after the last line's end, if it is more than white space.
    pub fn rest(self) -> Option<(u64, Bytes)> {
        let rest = self.buffer.freeze();
        (!self.skipping && !rest.trim_ascii().is_empty()).then_some((self.number + 1, rest))
    }

    fn wait_for_more(&mut self) -> Option<Line> {
        self.searched = self.buffer.len();
        if self.buffer.len() <= self.limit {
            return None;
        }
        self.buffer.clear();
        self.searched = 0;
        let first = !std::mem::replace(&mut self.skipping, true);
        first.then_some(Line::TooLong(self.number + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]], limit: usize) -> (Vec<Line>, Option<(u64, Bytes)>) {
        let mut lines = Lines::new(limit);
        let mut found = Vec::new();
        for chunk in chunks {
            lines.buffer().extend_from_slice(chunk);
            while let Some(line) = lines.next_line() {
                found.push(line);
            }
        }
        (found, lines.rest())
    }

    #[test]
    fn lines_and_what_is_left() {
        let whole = |number, line: &'static str| Line::Whole(number, Bytes::from_static(line.as_bytes()));
        let (lines, rest) = split(&[b"one\r\n\n  \nfour\n123456789\nsix\nrest"], 8);
        assert_eq!(lines, [whole(1, "one\r"), whole(4, "four"), Line::TooLong(5), whole(6, "six")]);
        assert_eq!(rest, Some((7, Bytes::from_static(b"rest"))));
        assert_eq!(split(&[b"one\n \t"], 8).1, None);
        assert_eq!(split(&[b"123456789"], 8), (vec![Line::TooLong(1)], None));
    }

    #[test]
    fn any_chunking_gives_the_same_lines() {
        let mut random = fastrand::Rng::with_seed(17);
        for _ in 0..2_000 {
            let bytes: Vec<u8> =
                (0..random.usize(..60)).map(|_| *random.choice(b"ab \n").expect("four")).collect();
            let mut chunks = Vec::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(random.usize(1..=rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            assert_eq!(split(&chunks, 5), split(&[&bytes], 5), "{bytes:?} in {chunks:?}");
        }
    }
}
