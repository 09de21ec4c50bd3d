//! Reads values of MessagePack out of bytes that are all there; what they say of themselves is held against what there is.

use super::{Head, Reserved};

/// Where in the bytes the reader is.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// Why bytes cannot be read as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// They end within a value.
    #[error("the MessagePack ends too early")]
    Cut,
    /// A byte stands there that begins no value.
    #[error(transparent)]
    Reserved(#[from] Reserved),
    /// A text is none.
    #[error("a text is not valid UTF-8; write what is no text as bin")]
    Utf8,
}

impl<'a> Reader<'a> {
    /// At the beginning of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next value's head.
    ///
    /// # Errors
    /// There is none.
    pub fn head(&mut self) -> Result<Head, Unreadable> {
        let (head, length) = Head::read(self.rest)?.ok_or(Unreadable::Cut)?;
        self.rest = &self.rest[length..];
        Ok(head)
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn bytes(&mut self, length: u32) -> Result<&'a [u8], Unreadable> {
        let length = usize::try_from(length).map_err(|_| Unreadable::Cut)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Unreadable::Cut)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// The next `length` bytes, as the text that they are.
    ///
    /// # Errors
    /// There are fewer, or they are no UTF-8.
    pub fn text(&mut self, length: u32) -> Result<&'a str, Unreadable> {
        std::str::from_utf8(self.bytes(length)?).map_err(|_| Unreadable::Utf8)
    }
}
