//! A delivery's key in eight bytes: what the wheel and the lanes hold millions of.
//!
//! Format: the event's sequence number in bits 16 to 59, the slot in bits 0 to 15. So packed keys have the order
//! of the keys that they stand for.

use crate::model::{delivery::DeliveryKey, event::Seq, id::NUMBER_BITS};

const _: () = assert!(NUMBER_BITS + u16::BITS <= u64::BITS, "number and slot fit one word");

/// A [`DeliveryKey`] in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PackedKey(u64);

impl From<DeliveryKey> for PackedKey {
    fn from(key: DeliveryKey) -> Self {
        Self(key.seq.get() << u16::BITS | u64::from(key.slot))
    }
}

impl From<PackedKey> for DeliveryKey {
    fn from(packed: PackedKey) -> Self {
        let slot = u16::try_from(packed.0 & u64::from(u16::MAX)).expect("masked to 16 bits");
        Self { seq: Seq::new(packed.0 >> u16::BITS), slot }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_as_they_were_in_their_order() {
        let mut last = None;
        for (seq, slot) in
            [(0, 0), (0, u16::MAX), (1, 0), (77, 3), (Seq::MAX.get(), 0), (Seq::MAX.get(), u16::MAX)]
        {
            let key = DeliveryKey { seq: Seq::new(seq), slot };
            let packed = PackedKey::from(key);
            assert_eq!(DeliveryKey::from(packed), key);
            assert!(last < Some(packed), "{key:?} keeps its place in the order");
            last = Some(packed);
        }
    }
}
