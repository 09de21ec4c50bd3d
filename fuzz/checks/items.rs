//! Items out of a stream of MessagePack: the same in any chunking, none longer than allowed, each of them one value, and no
//! more held than that.
//!
//! The first byte of an input says the limit, the second says how the rest is cut.

use posthaste::ingest::items::{Item, Items};

/// A head that has not come whole says nothing yet, and is held.
const HEAD: usize = 8;

pub(crate) fn check(input: &[u8]) {
    let Some((&[limit, seed], input)) = input.split_first_chunk() else { return };
    let limit = usize::from(limit) + 1;
    let whole = split(&[input], limit);
    assert_eq!(split(&super::chunks(input, seed), limit), whole, "in pieces");
    assert_eq!(split(&input.chunks(1).collect::<Vec<_>>(), limit), whole, "byte by byte");
    let (items, rest) = whole;
    let mut found = Vec::new();
    for item in &items {
        if let Item::Whole(_, item) = item {
            assert!(item.len() <= limit, "{} bytes are more than {limit}", item.len());
            assert_eq!(split(&[item], limit), (vec![Item::Whole(1, item.clone())], None), "it is one");
            found.extend_from_slice(item);
        }
    }
    if items.iter().all(|item| matches!(item, Item::Whole(..))) {
        assert!(input.starts_with(&found), "they stand one behind the other");
        assert_eq!(rest.is_some(), input.len() > found.len(), "what is left over is said");
    }
}

fn split(chunks: &[&[u8]], limit: usize) -> (Vec<Item>, Option<u64>) {
    let mut items = Items::new(limit);
    let mut found = Vec::new();
    for chunk in chunks {
        items.buffer().extend_from_slice(chunk);
        while let Some(item) = items.next_item() {
            found.push(item);
        }
        assert!(items.held() <= limit + HEAD, "{} bytes are held", items.held());
    }
    (found, items.rest())
}
