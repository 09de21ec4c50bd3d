//! Public ids: what users see in place of the store's sequence numbers.
//!
//! An id is a TypeID (<https://github.com/jetify-com/typeid/tree/main/spec>): a prefix that names the kind, and
//! a UUIDv7 (RFC 9562, section 5.7) in 26 characters of lower-case Crockford base32. Of the UUID's 128 bits
//!
//! ```text
//! 48  milliseconds since the epoch: when the thing was accepted or made
//!  4  version (7)        2  variant (binary 10)
//! 74  a keyed permutation of: 44 bits number, 16 bits slot, 14 bits zero
//! ```
//!
//! The permutation is a Feistel network of six rounds over two halves of 37 bits, with SipHash-2-4 under the
//! store's own key as round function, tweaked by the kind and the time. So an id is found without an index (undo
//! the permutation, read the row), can hardly be guessed (14 check bits, and the time must be the row's), and is
//! never given twice, because number and slot never are.

use std::{fmt, hash::Hasher, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use siphasher::sip::SipHasher24;

use super::{
    bearer::KeyNumber, delivery::DeliveryKey, endpoint::EndpointNumber, event::Seq, job::JobNumber,
    time::Timestamp,
};

/// Bits of a number (an event's or endpoint's): 17 trillion of them.
pub const NUMBER_BITS: u32 = 44;
const SLOT_BITS: u32 = 16;
const CHECK_BITS: u32 = 14;
const HALF_BITS: u32 = (NUMBER_BITS + SLOT_BITS + CHECK_BITS) / 2;
const HALF_MASK: u64 = (1 << HALF_BITS) - 1;
const ROUNDS: u8 = 6;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $tweak:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;
            const TWEAK: u8 = $tweak;
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // In one piece: a string that is made of it is allocated once.
                let mut text = [b'_'; $prefix.len() + 27];
                text[..$prefix.len()].copy_from_slice($prefix.as_bytes());
                text[$prefix.len() + 1..].copy_from_slice(&base32(self.0));
                f.write_str(std::str::from_utf8(&text).expect("prefix and base32 are ASCII"))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let error = ParseIdError { prefix: $prefix };
                let suffix = text.strip_prefix(concat!($prefix, "_")).ok_or(error)?;
                read_base32(suffix).map(Self).ok_or(error)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// An event's id, `evt_…`.
    EventId, "evt", 1
}
id! {
    /// A delivery's id, `dlv_…`: the same over all its attempts, the receiver's key for deduplication.
    DeliveryId, "dlv", 2
}
id! {
    /// An endpoint's id, `ep_…`.
    EndpointId, "ep", 3
}
id! {
    /// A job's id, `job_…`.
    JobId, "job", 5
}
id! {
    /// A key's id, `key_…`.
    KeyId, "key", 4
}

/// A text that is not an id of the kind asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: one begins with {prefix}_ and has 26 characters of 0-9 a-z (without i l o u) after it")]
pub struct ParseIdError {
    prefix: &'static str,
}

/// The store's secret key of its ids, made once when the store is created.
#[derive(Clone)]
pub struct IdKey([u8; 16]);

impl fmt::Debug for IdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdKey(…)")
    }
}

impl IdKey {
    /// A key from 16 random bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be stored.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The id of event `seq`, accepted at `at`.
    pub fn event_id(&self, at: Timestamp, seq: Seq) -> EventId {
        EventId(self.seal(EventId::TWEAK, at, seq.get(), 0))
    }

    /// The id of the delivery `key` of an event accepted at `at`.
    pub fn delivery_id(&self, at: Timestamp, key: DeliveryKey) -> DeliveryId {
        DeliveryId(self.seal(DeliveryId::TWEAK, at, key.seq.get(), key.slot))
    }

    /// The id of endpoint `number`, made at `at`.
    pub fn endpoint_id(&self, at: Timestamp, number: EndpointNumber) -> EndpointId {
        EndpointId(self.seal(EndpointId::TWEAK, at, u64::from(number.get()), 0))
    }

    /// The id of job `number`, made at `at`.
    pub fn job_id(&self, at: Timestamp, number: JobNumber) -> JobId {
        JobId(self.seal(JobId::TWEAK, at, number.get(), 0))
    }

    /// When the event was accepted, and its sequence number; `None` for an id that this store did not give.
    pub fn open_event(&self, id: EventId) -> Option<(Timestamp, Seq)> {
        let (at, number, slot) = self.open(EventId::TWEAK, id.0)?;
        (slot == 0).then_some((at, Seq::new(number)))
    }

    /// When the delivery's event was accepted, and the delivery's key; `None` for an id that this store did not give.
    pub fn open_delivery(&self, id: DeliveryId) -> Option<(Timestamp, DeliveryKey)> {
        let (at, number, slot) = self.open(DeliveryId::TWEAK, id.0)?;
        Some((at, DeliveryKey { seq: Seq::new(number), slot }))
    }

    /// When the endpoint was made, and its number; `None` for an id that this store did not give.
    pub fn open_endpoint(&self, id: EndpointId) -> Option<(Timestamp, EndpointNumber)> {
        let (at, number, slot) = self.open(EndpointId::TWEAK, id.0)?;
        let number = u32::try_from(number).ok()?;
        (slot == 0).then_some((at, EndpointNumber::new(number)))
    }

    /// When the job was made, and its number; `None` for an id that this store did not give.
    pub fn open_job(&self, id: JobId) -> Option<(Timestamp, JobNumber)> {
        let (at, number, slot) = self.open(JobId::TWEAK, id.0)?;
        (slot == 0).then_some((at, JobNumber::new(number)))
    }

    /// The id of key `number`, made at `at`.
    pub fn key_id(&self, at: Timestamp, number: KeyNumber) -> KeyId {
        KeyId(self.seal(KeyId::TWEAK, at, u64::from(number.get()), 0))
    }

    /// When the key was made, and its number; `None` for an id that this store did not give.
    pub fn open_key(&self, id: KeyId) -> Option<(Timestamp, KeyNumber)> {
        let (at, number, slot) = self.open(KeyId::TWEAK, id.0)?;
        let number = u32::try_from(number).ok()?;
        (slot == 0).then_some((at, KeyNumber::new(number)))
    }

    /// Eight base62 characters of a keyed hash of the delivery's id, for the placeholder `{delivery_short}`.
    pub fn delivery_short(&self, id: DeliveryId) -> String {
        const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write_u8(0);
        hasher.write(&id.0.to_le_bytes());
        let mut hash = hasher.finish();
        let mut text = String::with_capacity(8);
        for _ in 0..8 {
            text.push(char::from(BASE62[usize::try_from(hash % 62).expect("below 62")]));
            hash /= 62;
        }
        text
    }

    fn seal(&self, tweak: u8, at: Timestamp, number: u64, slot: u16) -> u128 {
        debug_assert!(number < 1 << NUMBER_BITS, "a number has at most {NUMBER_BITS} bits");
        let left = number >> (NUMBER_BITS - HALF_BITS);
        let low_bits = NUMBER_BITS - HALF_BITS;
        let right =
            (number & ((1 << low_bits) - 1)) << (SLOT_BITS + CHECK_BITS) | u64::from(slot) << CHECK_BITS;
        let (left, right) = (0..ROUNDS).fold((left & HALF_MASK, right), |(left, right), round| {
            (right, left ^ self.round(tweak, at, round, right))
        });
        let secret = u128::from(left) << HALF_BITS | u128::from(right);
        u128::from(at.as_millis()) << 80
            | 7 << 76
            | (secret >> 62) << 64
            | 0b10 << 62
            | (secret & ((1 << 62) - 1))
    }

    fn open(&self, tweak: u8, id: u128) -> Option<(Timestamp, u64, u16)> {
        if (id >> 76) & 0xf != 7 || (id >> 62) & 0b11 != 0b10 {
            return None;
        }
        let at = Timestamp::from_millis(truncate(id >> 80));
        let secret = (id >> 64 & 0xfff) << 62 | id & ((1 << 62) - 1);
        let halves = (truncate(secret >> HALF_BITS), truncate(secret) & HALF_MASK);
        let (left, right) = (0..ROUNDS)
            .rev()
            .fold(halves, |(left, right), round| (right ^ self.round(tweak, at, round, left), left));
        if right & ((1 << CHECK_BITS) - 1) != 0 {
            return None;
        }
        let number = left << (NUMBER_BITS - HALF_BITS) | right >> (SLOT_BITS + CHECK_BITS);
        let slot = u16::try_from(right >> CHECK_BITS & 0xffff).expect("masked to 16 bits");
        Some((at, number, slot))
    }

    fn round(&self, tweak: u8, at: Timestamp, round: u8, half: u64) -> u64 {
        let mut message = [0; 16];
        message[..8].copy_from_slice(&(u64::from(tweak) << 56 | u64::from(round) << 48 | half).to_le_bytes());
        message[8..].copy_from_slice(&at.as_millis().to_le_bytes());
        SipHasher24::new_with_key(&self.0).hash(&message) & HALF_MASK
    }
}

/// The low 64 bits.
fn truncate(wide: u128) -> u64 {
    u64::try_from(wide & u128::from(u64::MAX)).expect("masked to 64 bits")
}

/// The 26 characters of Crockford's base32, in lower case, that stand for these bits.
pub fn base32(id: u128) -> [u8; 26] {
    /// Characters of which a machine word has the bits.
    const CHUNK: usize = 12;
    let mut text = [0; 26];
    let mut rest = id;
    for chunk in text.rchunks_mut(CHUNK) {
        let mut word = truncate(rest);
        for place in chunk.iter_mut().rev() {
            *place = ALPHABET[usize::try_from(word & 31).expect("below 32")];
            word >>= 5;
        }
        rest >>= 5 * CHUNK;
    }
    text
}

/// The bits that such characters stand for.
pub fn read_base32(text: &str) -> Option<u128> {
    let bytes = text.as_bytes();
    if bytes.len() != 26 || bytes[0] > b'7' {
        return None;
    }
    bytes.iter().try_fold(0, |id: u128, byte| {
        let digit = ALPHABET.iter().position(|letter| letter == byte)?;
        Some(id << 5 | u128::try_from(digit).expect("below 32"))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn key() -> IdKey {
        IdKey::new(*b"sixteen bytes ok")
    }

    #[test]
    fn ids_open_to_what_they_were_made_of() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let at = Timestamp::from_millis(random.u64(..1 << 48));
            let seq = Seq::new(random.u64(..1 << NUMBER_BITS));
            let delivery = DeliveryKey { seq, slot: random.u16(..) };
            let number = EndpointNumber::new(random.u32(..));
            let event_id: EventId = key().event_id(at, seq).to_string().parse().expect("an id reads back");
            let delivery_id: DeliveryId = key().delivery_id(at, delivery).to_string().parse().expect("an id");
            assert_eq!(key().open_event(event_id), Some((at, seq)));
            assert_eq!(key().open_delivery(delivery_id), Some((at, delivery)));
            assert_eq!(key().open_endpoint(key().endpoint_id(at, number)), Some((at, number)));
            let job = JobNumber::new(seq.get());
            assert_eq!(key().open_job(key().job_id(at, job)), Some((at, job)));
            assert_eq!(key().open_job(JobId(event_id.0)), None, "the kind is part of the id");
        }
    }

    #[test]
    fn every_bit_is_spelled() {
        for id in (0..128).map(|bit| 1 << bit).chain([0, u128::MAX, u128::MAX / 3]) {
            let text = base32(id);
            let text = str::from_utf8(&text).expect("ASCII");
            assert_eq!(read_base32(text), Some(id), "{text}");
        }
        assert_eq!(&base32(31), b"0000000000000000000000000z");
        assert_eq!(&base32(u128::MAX), b"7zzzzzzzzzzzzzzzzzzzzzzzzz");
    }

    #[test]
    fn no_two_deliveries_have_the_same_id() {
        let mut random = fastrand::Rng::with_seed(13);
        let (mut keys, mut ids, mut short) = (HashSet::new(), HashSet::new(), HashSet::new());
        // All at one time, so that nothing but the permutation tells them apart; neighbours, and far apart.
        let at = Timestamp::from_millis(1_709_136_942_007);
        for _ in 0..5_000 {
            let seq = if random.bool() { random.u64(..100) } else { random.u64(..1 << NUMBER_BITS) };
            let slot = if random.bool() { random.u16(..100) } else { random.u16(..) };
            let delivery = DeliveryKey { seq: Seq::new(seq), slot };
            if keys.insert(delivery) {
                assert!(ids.insert(key().delivery_id(at, delivery).0), "{delivery:?}");
                short.insert(key().delivery_short(key().delivery_id(at, delivery)));
            }
        }
        assert!(keys.len() > 3_000, "{}", keys.len());
        assert_eq!(short.len(), keys.len(), "five thousand of 62^8 do not meet");
    }

    #[test]
    fn a_store_goes_on_giving_the_same_ids() {
        let at = Timestamp::from_millis(1_709_136_942_007);
        let delivery = key().delivery_id(at, DeliveryKey { seq: Seq::new(1), slot: 2 });
        let given = [
            key().event_id(at, Seq::new(1)).to_string(),
            delivery.to_string(),
            key().delivery_short(delivery),
            key().endpoint_id(at, EndpointNumber::new(3)).to_string(),
        ];
        assert_eq!(
            given,
            [
                "evt_01hqr804xqedfrpgbwt3r3pxf9",
                "dlv_01hqr804xqeyr9hjq2xvnfcqfq",
                "V0J6cMBo",
                "ep_01hqr804xqfen9ks7km2xm4js0"
            ]
        );
    }

    #[test]
    fn the_form_is_a_typeid_of_a_uuid_v7() {
        let id = key().event_id(Timestamp::from_millis(1_709_136_942_007), Seq::new(1));
        let text = id.to_string();
        assert_eq!(text.len(), 30);
        assert!(text.starts_with("evt_01hqr"), "the time comes first: {text}");
        assert_eq!(id.0 >> 76 & 0xf, 7);
        assert_eq!(id.0 >> 62 & 3, 2);
        for wrong in [
            "",
            "evt_",
            "dlv_01hqr2p1qq8k3v7r5m6n0x9y2z",
            &text[..29],
            &text.to_uppercase(),
            "evt_8zzzzzzzzzzzzzzzzzzzzzzzzz",
        ] {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn guesses_are_refused() {
        let at = Timestamp::from_millis(1_709_136_942_007);
        let id = key().event_id(at, Seq::new(42));
        let hits = (0..74).filter(|bit| {
            let bit = if *bit < 62 { *bit } else { bit + 2 };
            key().open_event(EventId(id.0 ^ 1 << bit)).is_some()
        });
        assert_eq!(hits.count(), 0, "a changed bit fails the check");
        assert!(key().open_delivery(DeliveryId(id.0)).is_none(), "the kind is part of the id");
        assert!(key().open_event(EventId(id.0 + (1 << 80))).is_none(), "so is the time");
        assert!(IdKey::new([0; 16]).open_event(id).is_none(), "and so is the store's key");
    }

    #[test]
    fn short_ids_have_eight_characters() {
        let at = Timestamp::from_millis(1);
        let short =
            |slot| key().delivery_short(key().delivery_id(at, DeliveryKey { seq: Seq::new(1), slot }));
        assert_eq!(short(0).len(), 8);
        assert!(short(0).chars().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(short(0), short(1));
    }
}
