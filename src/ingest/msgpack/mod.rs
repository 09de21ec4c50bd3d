//! MessagePack, as far as events need it: the heads of values ([`Head`]), and the walk over one value to its end.
//!
//! A value is a head, and after that its payload of so many bytes or its elements. To find a value's end the elements
//! that are still to come are counted, whatever they nest in: no stack, no recursion, and no memory, however deep or long a
//! value says that it is.

pub mod json;
pub mod reader;

/// What a value begins with: its kind, its value where it is in the head, else how long it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Head {
    /// Nothing.
    Nil,
    /// True or false.
    Bool(bool),
    /// An integer that is not negative.
    Unsigned(u64),
    /// An integer, by the formats with a sign.
    Signed(i64),
    /// A number of single precision.
    Single(f32),
    /// A number of double precision.
    Double(f64),
    /// A text of so many bytes.
    Text(u32),
    /// So many bytes.
    Binary(u32),
    /// So many elements.
    Array(u32),
    /// So many pairs.
    Map(u32),
    /// So many bytes of an application's own type.
    Extension(u32),
}

/// The one byte that begins no value: where a value ends after it nobody can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the byte 0xc1 begins no value in MessagePack")]
pub struct Reserved;

impl Head {
    /// The head at the beginning of `bytes`, and how long it is; `None` when more bytes are needed.
    ///
    /// # Errors
    /// It begins with the reserved byte.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Reserved> {
        let Some((&marker, rest)) = bytes.split_first() else { return Ok(None) };
        let low = u32::from(marker);
        let short = match marker {
            0x00..=0x7f => Self::Unsigned(marker.into()),
            0x80..=0x8f => Self::Map(low & 0x0f),
            0x90..=0x9f => Self::Array(low & 0x0f),
            0xa0..=0xbf => Self::Text(low & 0x1f),
            0xc0 => Self::Nil,
            0xc1 => return Err(Reserved),
            0xc2 | 0xc3 => Self::Bool(marker == 0xc3),
            0xe0..=0xff => Self::Signed(i8::from_be_bytes([marker]).into()),
            _ => return Ok(Self::long(marker, rest).map(|(head, after)| (head, 1 + after))),
        };
        Ok(Some((short, 1)))
    }

    /// A head of a marker and what follows it, with how many bytes follow.
    fn long(marker: u8, rest: &[u8]) -> Option<(Self, usize)> {
        let one = |make: fn(u32) -> Self| Some((make((*rest.first()?).into()), 1));
        let two = |make: fn(u32) -> Self| Some((make(u16::from_be_bytes(*rest.first_chunk()?).into()), 2));
        let four = |make: fn(u32) -> Self| Some((make(u32::from_be_bytes(*rest.first_chunk()?)), 4));
        match marker {
            0xc4 => one(Self::Binary),
            0xc5 => two(Self::Binary),
            0xc6 => four(Self::Binary),
            // An extension's type stands between its length and its bytes.
            0xc7 => one(Self::Extension).and_then(|(head, after)| rest.get(after).map(|_| (head, after + 1))),
            0xc8 => two(Self::Extension).and_then(|(head, after)| rest.get(after).map(|_| (head, after + 1))),
            0xc9 => {
                four(Self::Extension).and_then(|(head, after)| rest.get(after).map(|_| (head, after + 1)))
            }
            0xca => Some((Self::Single(f32::from_be_bytes(*rest.first_chunk()?)), 4)),
            0xcb => Some((Self::Double(f64::from_be_bytes(*rest.first_chunk()?)), 8)),
            0xcc => Some((Self::Unsigned((*rest.first()?).into()), 1)),
            0xcd => Some((Self::Unsigned(u16::from_be_bytes(*rest.first_chunk()?).into()), 2)),
            0xce => Some((Self::Unsigned(u32::from_be_bytes(*rest.first_chunk()?).into()), 4)),
            0xcf => Some((Self::Unsigned(u64::from_be_bytes(*rest.first_chunk()?)), 8)),
            0xd0 => Some((Self::Signed(i8::from_be_bytes(*rest.first_chunk()?).into()), 1)),
            0xd1 => Some((Self::Signed(i16::from_be_bytes(*rest.first_chunk()?).into()), 2)),
            0xd2 => Some((Self::Signed(i32::from_be_bytes(*rest.first_chunk()?).into()), 4)),
            0xd3 => Some((Self::Signed(i64::from_be_bytes(*rest.first_chunk()?)), 8)),
            0xd4..=0xd8 => rest.first().map(|_| (Self::Extension(1 << (marker - 0xd4)), 1)),
            0xd9 => one(Self::Text),
            0xda => two(Self::Text),
            0xdb => four(Self::Text),
            0xdc => two(Self::Array),
            0xdd => four(Self::Array),
            0xde => two(Self::Map),
            _ => four(Self::Map),
        }
    }

    /// What it is, for messages.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "a boolean",
            Self::Unsigned(_) | Self::Signed(_) => "an integer",
            Self::Single(_) | Self::Double(_) => "a float",
            Self::Text(_) => "a text",
            Self::Binary(_) => "binary (bin)",
            Self::Array(_) => "an array",
            Self::Map(_) => "a map",
            Self::Extension(_) => "an extension (ext)",
        }
    }

    /// How many bytes of its own follow it.
    const fn bytes(self) -> u32 {
        match self {
            Self::Text(length) | Self::Binary(length) | Self::Extension(length) => length,
            _ => 0,
        }
    }

    /// How many values follow it that are part of it.
    fn values(self) -> u64 {
        match self {
            Self::Array(elements) => elements.into(),
            Self::Map(pairs) => 2 * u64::from(pairs),
            _ => 0,
        }
    }
}

/// The walk over one value, as far as it has come.
#[derive(Debug)]
pub struct Walk {
    /// Bytes to come that are a value's own.
    bytes: u64,
    /// Values to come, those in others included.
    values: u64,
}

impl Walk {
    /// At a value's beginning.
    pub const fn begin() -> Self {
        Self { bytes: 0, values: 1 }
    }

    /// Goes on over `bytes`, which follow what it has gone over: how far it came. It stops at the value's end, and where
    /// more bytes are needed.
    ///
    /// # Errors
    /// The reserved byte stands where a value should begin; with how far it came before.
    pub fn go(&mut self, bytes: &[u8]) -> Result<usize, usize> {
        let mut at = 0;
        loop {
            let there = u64::try_from(bytes.len() - at).unwrap_or(u64::MAX);
            let own = self.bytes.min(there);
            self.bytes -= own;
            at += usize::try_from(own).expect("no more than there are");
            if self.bytes > 0 || self.values == 0 {
                return Ok(at);
            }
            let Some((head, length)) = Head::read(&bytes[at..]).map_err(|Reserved| at)? else {
                return Ok(at);
            };
            at += length;
            self.bytes = head.bytes().into();
            // Nobody lives to see that so many come.
            self.values = (self.values - 1).saturating_add(head.values());
        }
    }

    /// Whether the value has ended.
    pub const fn is_over(&self) -> bool {
        self.bytes == 0 && self.values == 0
    }

    /// Bytes to come at least.
    pub const fn least(&self) -> u64 {
        self.bytes.saturating_add(self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        for (bytes, head) in [
            (&[0x00][..], Head::Unsigned(0)),
            (&[0x7f], Head::Unsigned(127)),
            (&[0x80], Head::Map(0)),
            (&[0x8f], Head::Map(15)),
            (&[0x93], Head::Array(3)),
            (&[0xa0], Head::Text(0)),
            (&[0xbf], Head::Text(31)),
            (&[0xc0], Head::Nil),
            (&[0xc2], Head::Bool(false)),
            (&[0xc3], Head::Bool(true)),
            (&[0xc4, 9], Head::Binary(9)),
            (&[0xc5, 1, 0], Head::Binary(256)),
            (&[0xc6, 0xff, 0xff, 0xff, 0xff], Head::Binary(u32::MAX)),
            (&[0xc7, 9, 5], Head::Extension(9)),
            (&[0xc8, 1, 0, 5], Head::Extension(256)),
            (&[0xc9, 0xff, 0xff, 0xff, 0xff, 5], Head::Extension(u32::MAX)),
            (&[0xca, 0x3f, 0x80, 0, 0], Head::Single(1.0)),
            (&[0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0], Head::Double(1.0)),
            (&[0xcc, 0xff], Head::Unsigned(255)),
            (&[0xcd, 0xff, 0xff], Head::Unsigned(65_535)),
            (&[0xce, 0xff, 0xff, 0xff, 0xff], Head::Unsigned(u32::MAX.into())),
            (&[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Head::Unsigned(u64::MAX)),
            (&[0xd0, 0x80], Head::Signed(-128)),
            (&[0xd1, 0x80, 0], Head::Signed(-32_768)),
            (&[0xd2, 0x80, 0, 0, 0], Head::Signed(i32::MIN.into())),
            (&[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], Head::Signed(i64::MIN)),
            (&[0xd4, 5], Head::Extension(1)),
            (&[0xd8, 5], Head::Extension(16)),
            (&[0xd9, 200], Head::Text(200)),
            (&[0xda, 1, 0], Head::Text(256)),
            (&[0xdb, 0xff, 0xff, 0xff, 0xff], Head::Text(u32::MAX)),
            (&[0xdc, 1, 0], Head::Array(256)),
            (&[0xdd, 0xff, 0xff, 0xff, 0xff], Head::Array(u32::MAX)),
            (&[0xde, 1, 0], Head::Map(256)),
            (&[0xdf, 0xff, 0xff, 0xff, 0xff], Head::Map(u32::MAX)),
            (&[0xe0], Head::Signed(-32)),
            (&[0xff], Head::Signed(-1)),
        ] {
            let mut longer = bytes.to_vec();
            longer.push(0xc1);
            assert_eq!(Head::read(&longer), Ok(Some((head, bytes.len()))), "{bytes:x?}");
            for length in 0..bytes.len() {
                assert_eq!(Head::read(&bytes[..length]), Ok(None), "{bytes:x?} cut to {length}");
            }
        }
        assert_eq!(Head::read(&[0xc1]), Err(Reserved));
    }

    #[test]
    fn a_walk_ends_where_the_value_does() {
        let deep = [[0x91].repeat(100_000), vec![0xc0]].concat();
        for (value, length) in [
            (&[0x01][..], 1),
            (&[0x82, 0xa1, b'a', 0x92, 1, 2, 0xa1, b'b', 0x80, 0xc0], 9),
            (&[0xc4, 2, 0xc1, 0xc1, 0xc0], 4),
            (&[0xd6, 1, 2, 3, 4, 5, 6], 6),
            (&deep, 100_001),
        ] {
            let mut walk = Walk::begin();
            assert_eq!(walk.go(value), Ok(length), "{:x?}", &value[..4.min(value.len())]);
            assert!(walk.is_over());
        }
        let mut walk = Walk::begin();
        assert_eq!(walk.go(&[0xdd, 0xff, 0xff, 0xff, 0xff, 1, 2]), Ok(7));
        assert_eq!((walk.is_over(), walk.least()), (false, u64::from(u32::MAX) - 2));
        assert_eq!(walk.go(&[3, 0xa3, b'x', 0xc1]), Ok(4));
        assert_eq!(walk.go(&[0xc1, 0xc1]), Err(1));
    }
}
