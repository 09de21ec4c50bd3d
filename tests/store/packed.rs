//! A file without its zeros, as a store is kept among the tests: its length, then the place, the length and the bytes of
//! each part that is not zero; numbers are eight bytes, big-endian.

/// Bytes that are looked at together.
const PIECE: usize = 256;

pub(super) fn pack(bytes: &[u8]) -> Vec<u8> {
    let number = |number: usize| u64::try_from(number).expect("fits").to_be_bytes();
    let mut packed = number(bytes.len()).to_vec();
    for (index, piece) in bytes.chunks(PIECE).enumerate() {
        let end = piece.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if end > 0 {
            packed.extend(number(index * PIECE));
            packed.extend(number(end));
            packed.extend(&piece[..end]);
        }
    }
    packed
}

pub(super) fn unpack(packed: &[u8]) -> Vec<u8> {
    let number = |at: usize| {
        let bytes = packed[at..at + 8].try_into().expect("eight bytes");
        usize::try_from(u64::from_be_bytes(bytes)).expect("fits")
    };
    let mut bytes = vec![0; number(0)];
    let mut at = 8;
    while at < packed.len() {
        let (place, length) = (number(at), number(at + 8));
        bytes[place..place + length].copy_from_slice(&packed[at + 16..at + 16 + length]);
        at += 16 + length;
    }
    bytes
}
