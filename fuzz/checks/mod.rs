//! What must hold for any bytes whatever. Each check takes an input and panics where it does not hold; the fuzz targets
//! search for such inputs, and the tests replay the corpus and what mutations make of it.

#![allow(dead_code, reason = "a fuzz target has one of the checks")]

pub(crate) mod config;
pub(crate) mod event;
pub(crate) mod items;
pub(crate) mod lines;
pub(crate) mod message;
pub(crate) mod spool;
pub(crate) mod stream;

/// Pieces of `input`, of lengths that `seed` decides.
fn chunks(input: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut chunks = Vec::new();
    let (mut rest, mut state) = (input, u32::from(seed) + 1);
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let longest = if state & 1 << 30 == 0 { 3 } else { 40 };
        let length = usize::try_from(state >> 24).expect("a byte") % longest + 1;
        let (chunk, after) = rest.split_at(length.min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    chunks
}
