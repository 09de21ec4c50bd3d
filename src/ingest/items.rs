//! Items out of a stream of MessagePack, one value after the other, with a bound on their length; sans-io.
//!
//! The same bytes in any chunking give the same items, and each byte is looked at once, however they trickle in. An item that
//! is too long is reported as soon as it says so, and passed over to its end without being held. Whether an item is an event
//! is for others to say: here anything with an end is one. Where the end cannot be known, nothing more comes.

use bytes::{Buf, Bytes, BytesMut};

use super::msgpack::Walk;

/// Splits what is pushed into items.
#[derive(Debug)]
pub struct Items {
    buffer: BytesMut,
    /// How much of `buffer` was gone over; all of it belongs to the item that has begun.
    walked: usize,
    walk: Walk,
    limit: usize,
    passing: bool,
    lost: bool,
    number: u64,
}

/// An item, or what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A value, with its number, from 1.
    Whole(u64, Bytes),
    /// The item with this number is longer than the limit; it is passed over.
    TooLong(u64),
    /// In the item with this number stands a byte that means nothing. It is the last that is reported.
    Lost(u64),
}

impl Items {
    /// Items of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            walked: 0,
            walk: Walk::begin(),
            limit,
            passing: false,
            lost: false,
            number: 0,
        }
    }

    /// The buffer to read into; at most the limit and what one read adds.
    pub const fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// How many items have ended.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// How many bytes are held of an item that may still be whole.
    pub fn held(&self) -> usize {
        if self.passing { 0 } else { self.buffer.len() }
    }

    /// Whether nothing more comes, as the next item's beginning is not known.
    pub const fn is_lost(&self) -> bool {
        self.lost
    }

    /// The next item; `None` when more bytes are needed, or none comes any more.
    pub fn next_item(&mut self) -> Option<Item> {
        loop {
            if self.lost {
                self.buffer.clear();
                return None;
            }
            let went = self.walk.go(&self.buffer[self.walked..]);
            let (Ok(further) | Err(further)) = went;
            self.walked += further;
            // What an item has at least only grows: whoever cuts the bytes as they like, the same items are too long.
            let least = u64::try_from(self.walked).unwrap_or(u64::MAX).saturating_add(self.walk.least());
            if !self.passing && least > u64::try_from(self.limit).unwrap_or(u64::MAX) {
                self.passing = true;
                return Some(Item::TooLong(self.number + 1));
            }
            if went.is_err() {
                self.lost = true;
                return Some(Item::Lost(self.number + 1));
            }
            if self.walk.is_over() {
                if let Some(item) = self.end_item() {
                    return Some(item);
                }
                continue;
            }
            if self.passing {
                self.buffer.advance(self.walked);
                self.walked = 0;
            }
            return None;
        }
    }

    /// At the end of the stream: the number of an item that has begun and not ended, if it was not reported.
    pub fn rest(&self) -> Option<u64> {
        (!self.lost && self.held() > 0).then_some(self.number + 1)
    }

    /// Takes the item that is over; `None` if it was passed over.
    fn end_item(&mut self) -> Option<Item> {
        let item = self.buffer.split_to(self.walked).freeze();
        (self.walked, self.walk) = (0, Walk::begin());
        self.number += 1;
        let passed = std::mem::take(&mut self.passing);
        (!passed).then_some(Item::Whole(self.number, item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]], limit: usize) -> (Vec<Item>, Option<u64>) {
        let mut items = Items::new(limit);
        let mut found = Vec::new();
        for chunk in chunks {
            items.buffer().extend_from_slice(chunk);
            while let Some(item) = items.next_item() {
                found.push(item);
            }
            // A head that has not come whole says nothing yet.
            assert!(items.held() <= limit + 8, "what is held never grows beyond the limit");
        }
        (found, items.rest())
    }

    fn whole(number: u64, item: &'static [u8]) -> Item {
        Item::Whole(number, Bytes::from_static(item))
    }

    #[test]
    fn items_and_what_is_left() {
        for (bytes, items, rest) in [
            (&b""[..], vec![], None),
            (
                b"\x80\x81\xa1a\x01\x07",
                vec![whole(1, b"\x80"), whole(2, b"\x81\xa1a\x01"), whole(3, b"\x07")],
                None,
            ),
            (b"\x80\x81\xa1", vec![whole(1, b"\x80")], Some(2)),
            (b"\xd9", vec![], Some(1)),
            // Of eight bytes and of nine.
            (b"\xa7seven..\x80", vec![whole(1, b"\xa7seven.."), whole(2, b"\x80")], None),
            (b"\xa8eight...\x80", vec![Item::TooLong(1), whole(2, b"\x80")], None),
            // It says so itself, and then ends within.
            (b"\xdb\xff\xff\xff\xffa", vec![Item::TooLong(1)], None),
            (b"\xdf\xff\xff\xff\xff", vec![Item::TooLong(1)], None),
            (b"\xdd\x00\x00\x00\x04\x01\x02\x03\x04\x80", vec![Item::TooLong(1), whole(2, b"\x80")], None),
            (b"\x80\xc1\x80", vec![whole(1, b"\x80"), Item::Lost(2)], None),
            (b"\x93\x01\xc1\x80", vec![Item::Lost(1)], None),
            (b"\x9f\xc1\x80", vec![Item::TooLong(1), Item::Lost(1)], None),
            (
                b"\xa1\xc1\xd4\xc1\xc1\x80",
                vec![whole(1, b"\xa1\xc1"), whole(2, b"\xd4\xc1\xc1"), whole(3, b"\x80")],
                None,
            ),
        ] {
            assert_eq!(split(&[bytes], 8), (items, rest), "{bytes:x?}");
        }
    }

    #[test]
    fn any_chunking_gives_the_same_items() {
        let seed = 17;
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..20_000 {
            let heads =
                b"\x00\x80\x81\x82\x91\x93\xa0\xa3\xc0\xc1\xc4\xc7\xcf\xd4\xd9\xdb\xdc\xdf\xff\x01\x02";
            let length = random.usize(..60);
            let bytes: Vec<u8> = (0..length).map(|_| *random.choice(heads).expect("some")).collect();
            let mut chunks = Vec::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(random.usize(1..=rest.len().min(9)));
                chunks.push(chunk);
                rest = after;
            }
            let at_once = split(&[&bytes], 12);
            assert_eq!(split(&chunks, 12), at_once, "seed {seed}, round {round}: {bytes:x?} in {chunks:x?}");
        }
    }
}
