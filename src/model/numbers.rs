//! Hashing for maps whose keys are numbers that we or the runtime give: sequence numbers, slots, endpoints, tasks.
//!
//! Nobody outside chooses such a key, so nothing has to be defended against; and there are some twenty look-ups on the
//! way of each delivery.

use std::hash::{BuildHasherDefault, Hasher};

/// Builds [`NumberHasher`]s.
pub type BuildNumberHasher = BuildHasherDefault<NumberHasher>;

/// Mixes numbers by a multiplication (Knuth, The Art of Computer Programming 3, 6.4), and folds the upper half down,
/// where tables look.
#[derive(Clone, Copy, Debug, Default)]
pub struct NumberHasher(u64);

/// 2^64 divided by the golden ratio, made odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl NumberHasher {
    const fn mix(&mut self, number: u64) {
        let mixed = (self.0.rotate_left(5) ^ number).wrapping_mul(GOLDEN);
        self.0 = mixed ^ (mixed >> 32);
    }
}

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.mix(u64::from(*byte));
        }
    }

    fn write_u16(&mut self, number: u16) {
        self.mix(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::BuildHasher};

    use super::*;
    use crate::model::{delivery::DeliveryKey, endpoint::EndpointNumber, event::Seq};

    /// Tables use the lowest bits for the place and the highest seven for a tag.
    #[test]
    fn keys_as_they_come_are_spread() {
        let build = BuildNumberHasher::default();
        let key = |seq, slot| DeliveryKey { seq: Seq::new(seq), slot };
        let in_a_row: Vec<u64> = (0..4_096).map(|seq| build.hash_one(key(seq, 0))).collect();
        let of_one_event: Vec<u64> = (0..4_096).map(|slot| build.hash_one(key(7, slot))).collect();
        let endpoints: Vec<u64> = (0..4_096).map(|n| build.hash_one(EndpointNumber::new(n))).collect();
        for hashes in [in_a_row, of_one_event, endpoints] {
            let places: HashSet<u64> = hashes.iter().map(|hash| hash % 8_192).collect();
            let tags: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
            assert!(
                places.len() > 2_800 && tags.len() == 128,
                "{} places, {} tags",
                places.len(),
                tags.len()
            );
        }
    }
}
