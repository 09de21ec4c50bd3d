//! A value of MessagePack as JSON text.
//!
//! Compact, in the order in which it stands: integers exact, floats by the shortest digits that lead back to them, texts
//! escaped where JSON asks for it. What JSON cannot say is refused: bytes, extensions, NaN and infinity, keys that are no
//! texts. Nesting is bounded and needs no recursion; the text is never longer than its limit, whatever stands there.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    Head,
    reader::{Reader, Unreadable},
};

/// Why a value does not become JSON. Nothing of the value is in the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// It nests deeper than allowed.
    #[error("it nests deeper than {0} levels")]
    Deep(usize),
    /// Bytes within a value of another kind.
    #[error(
        "bytes (bin) stand within it, and JSON has none; write them as a text such as base64, or make all of it one bin"
    )]
    Binary,
    /// An extension.
    #[error(
        "an extension (ext) stands in it, and JSON has none; write a time as an RFC 3339 text, else what it means"
    )]
    Extension,
    /// A key that is no text.
    #[error("a key of a map must be a text, and is {0}")]
    Key(&'static str),
    /// Not a number that JSON has.
    #[error("NaN and infinity are no numbers in JSON; write nil or a text")]
    NotFinite,
    /// The text would be longer than allowed.
    #[error("as JSON it is longer than {0} bytes")]
    Long(usize),
}

/// The value with this `head`, of which `reader` has the rest, as JSON of at most `limit` bytes that nests `depth` levels at
/// most.
///
/// # Errors
/// It is none that JSON can say, or goes beyond a limit.
pub fn transcode(
    mut head: Head,
    reader: &mut Reader<'_>,
    depth: usize,
    limit: usize,
) -> Result<Vec<u8>, Misfit> {
    let mut out = Out { text: Vec::with_capacity(reader.left().min(limit)), limit };
    let mut open: Vec<Level> = Vec::new();
    loop {
        if let Some(level) = out.value(head, reader)? {
            if open.len() == depth {
                return Err(Misfit::Deep(depth));
            }
            out.push(&[level.begin()])?;
            open.push(level);
        }
        loop {
            let Some(level) = open.last_mut() else { return Ok(out.text) };
            if level.left > 0 {
                break;
            }
            out.push(&[level.end()])?;
            open.pop();
        }
        let level = open.last_mut().expect("the loop before went on otherwise");
        level.left -= 1;
        if std::mem::take(&mut level.comma) {
            out.push(b",")?;
        }
        level.comma = true;
        if level.map {
            out.key(reader)?;
        }
        head = reader.head()?;
    }
}

/// An array or a map that has begun.
struct Level {
    /// Elements or pairs to come.
    left: u32,
    map: bool,
    /// Before the next one.
    comma: bool,
}

impl Level {
    const fn new(left: u32, map: bool) -> Self {
        Self { left, map, comma: false }
    }

    const fn begin(&self) -> u8 {
        if self.map { b'{' } else { b'[' }
    }

    const fn end(&self) -> u8 {
        if self.map { b'}' } else { b']' }
    }
}

/// The text, within its limit.
struct Out {
    text: Vec<u8>,
    limit: usize,
}

impl Out {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Misfit> {
        self.write_all(bytes).map_err(|_| Misfit::Long(self.limit))
    }

    fn json(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Misfit> {
        let limit = self.limit;
        serde_json::to_writer(self, value).map_err(|_| Misfit::Long(limit))
    }

    fn key(&mut self, reader: &mut Reader<'_>) -> Result<(), Misfit> {
        match reader.head()? {
            Head::Text(length) => self.json(reader.text(length)?)?,
            other => return Err(Misfit::Key(other.noun())),
        }
        self.push(b":")
    }

    /// Writes the value with this head; of an array or a map nothing: it is a level.
    fn value(&mut self, head: Head, reader: &mut Reader<'_>) -> Result<Option<Level>, Misfit> {
        match head {
            Head::Nil => self.push(b"null"),
            Head::Bool(value) => self.json(&value),
            Head::Unsigned(value) => self.json(&value),
            Head::Signed(value) => self.json(&value),
            Head::Single(value) if value.is_finite() => self.json(&value),
            Head::Double(value) if value.is_finite() => self.json(&value),
            Head::Single(_) | Head::Double(_) => Err(Misfit::NotFinite),
            Head::Text(length) => self.json(reader.text(length)?),
            Head::Binary(_) => Err(Misfit::Binary),
            Head::Extension(_) => Err(Misfit::Extension),
            Head::Array(left) => return Ok(Some(Level::new(left, false))),
            Head::Map(left) => return Ok(Some(Level::new(left, true))),
        }?;
        Ok(None)
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.text.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8], limit: usize) -> Result<String, Misfit> {
        let mut reader = Reader::new(bytes);
        let head = reader.head()?;
        let text = transcode(head, &mut reader, 4, limit)?;
        assert!(text.len() <= limit);
        assert_eq!(reader.left(), 0, "all of it was read");
        Ok(String::from_utf8(text).expect("JSON is UTF-8"))
    }

    #[test]
    fn what_json_can_say() {
        let long = [&b"\xda\x01\x00"[..], &[b'x'; 256]].concat();
        let long_text = format!("\"{}\"", "x".repeat(256));
        for (bytes, text) in [
            (&b"\xc0"[..], "null"),
            (b"\xc2", "false"),
            (b"\xc3", "true"),
            (b"\x00", "0"),
            (b"\x7f", "127"),
            (b"\xe0", "-32"),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
            (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808"),
            (b"\xd3\x00\x00\x00\x00\x00\x00\x00\x07", "7"),
            (b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", "0.1"),
            (b"\xca\x3d\xcc\xcc\xcd", "0.1"),
            (b"\xca\x3f\x80\x00\x00", "1.0"),
            (b"\xcb\x80\x00\x00\x00\x00\x00\x00\x00", "-0.0"),
            (b"\xcb\x7f\xef\xff\xff\xff\xff\xff\xff", "1.7976931348623157e+308"),
            (b"\xcb\x00\x00\x00\x00\x00\x00\x00\x01", "5e-324"),
            (b"\xa0", "\"\""),
            (b"\xa9\"\\/\n\x00\x7f\xf0\x9f\x98", ""),
            (b"\xaa\"\\/\n\x00\x7f\xf0\x9f\x98\x80", "\"\\\"\\\\/\\n\\u0000\u{7f}😀\""),
            (&long, &long_text),
            (b"\x90", "[]"),
            (b"\x80", "{}"),
            (b"\xdc\x00\x02\x01\x80", "[1,{}]"),
            (b"\x82\xa1a\x92\x01\x90\xa1a\x81\xa0\xc0", r#"{"a":[1,[]],"a":{"":null}}"#),
            (b"\x91\x91\x91\x91\xc0", "[[[[null]]]]"),
        ] {
            if text.is_empty() {
                assert_eq!(json(bytes, 512), Err(Misfit::Unreadable(Unreadable::Utf8)));
            } else {
                assert_eq!(json(bytes, 512).as_deref(), Ok(text), "{bytes:x?}");
                assert_eq!(json(bytes, text.len()).as_deref(), Ok(text), "{bytes:x?}");
                let less = text.len() - 1;
                assert_eq!(json(bytes, less), Err(Misfit::Long(less)), "{bytes:x?}");
            }
        }
    }

    #[test]
    fn what_json_cannot_say() {
        let cut = Misfit::Unreadable(Unreadable::Cut);
        for (bytes, misfit) in [
            (&b"\x91\x91\x91\x91\x90"[..], Misfit::Deep(4)),
            (b"\x91\xc4\x01a", Misfit::Binary),
            (b"\xd4\x01\x01", Misfit::Extension),
            (b"\x91\xd7\xff\x00\x00\x00\x00\x00\x00\x00\x00", Misfit::Extension),
            (b"\xca\x7f\xc0\x00\x00", Misfit::NotFinite),
            (b"\xca\x7f\x80\x00\x00", Misfit::NotFinite),
            (b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", Misfit::NotFinite),
            (b"\x81\x01\x02", Misfit::Key("an integer")),
            (b"\x81\xc0\x02", Misfit::Key("nil")),
            (b"\x81\xc4\x01a\x02", Misfit::Key("binary (bin)")),
            (b"\x81\xa1\xff\x02", Misfit::Unreadable(Unreadable::Utf8)),
            (b"\xa3\xed\xa0\x80", Misfit::Unreadable(Unreadable::Utf8)),
            (b"\x91\xc1", Misfit::Unreadable(Unreadable::Reserved(super::super::Reserved))),
            (b"", cut),
            (b"\x92\x01", cut),
            (b"\x81\xa1a", cut),
            (b"\xdd\xff\xff\xff\xff\x01", cut),
            (b"\xdb\xff\xff\xff\xff\x01", cut),
            (b"\xcb\x00", cut),
        ] {
            assert_eq!(json(bytes, 512), Err(misfit), "{bytes:x?}");
        }
    }
}
