//! Deduplication: which events' ids were seen within the window.
//!
//! The table `ids` holds the truth, a row for each accepted event that carried an id; the map in memory leads from
//! 64 bits of the keyed hash to the newest such row, and a hit is checked against the row's 128 bits. A producer
//! cannot make two ids collide without the store's key.

use std::collections::HashMap;

use redb::{ReadableTable, ReadableTableMetadata};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::{hash::Hasher, time::Duration};

use super::{error::StoreError, record::IdRow, schema::Tables};
use crate::model::{
    content::ContentType,
    delivery::Group,
    event::{NewEvent, NotBefore, Seq},
    id::IdKey,
    time::Timestamp,
};

/// How long and how many ids are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// For how long.
    pub time: Duration,
    /// How many, whatever the time.
    pub entries: usize,
}

/// The ids that are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// How many.
    pub ids: u64,
    /// When the oldest came, on the time that ages run on.
    pub oldest: Option<Timestamp>,
}

impl Window {
    /// For how long ids are really remembered: where there are as many as may be, not longer than the oldest of them is
    /// old at `now`, on the time that ages run on.
    pub fn held(&self, remembered: Remembered, now: Timestamp) -> Duration {
        if remembered.ids < count(self.entries) {
            return self.time;
        }
        remembered.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest)).min(self.time)
    }
}

/// What is known of an event's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Seen, with the same content: the first event, and when it was accepted.
    Duplicate(Seq, Timestamp),
    /// Seen, with other content.
    Conflict(Seq, Timestamp),
    /// Not seen within the window.
    New,
}

/// The map of the ids within the window.
#[derive(Debug)]
pub(super) struct Dedup {
    key: IdKey,
    window: Window,
    map: HashMap<u64, Seq>,
}

impl Dedup {
    pub(super) fn new(key: IdKey, window: Window) -> Self {
        Self { key, window, map: HashMap::new() }
    }

    /// Remembers so long and so many from now on.
    pub(super) const fn set_window(&mut self, window: Window) {
        self.window = window;
    }

    /// Takes over what a scan of `ids` found.
    pub(super) fn fill(&mut self, rows: &[(u64, Seq)]) {
        self.map.reserve(rows.len());
        self.map.extend(rows.iter().copied());
    }

    /// The row of `event` as accepted at `at`, which is `age` on the time that ages run on; `None` when it carries no id.
    pub(super) fn row(&self, event: &NewEvent, (at, age): (Timestamp, Timestamp)) -> Option<IdRow> {
        let producer_id = event.producer_id.as_deref()?;
        let mut id = self.hasher(1);
        write_text(&mut id, event.account.as_str());
        write_text(&mut id, producer_id);
        let mut content = self.hasher(2);
        write_text(&mut content, event.event_type.as_str());
        content.write(&event.time.map_or(0, |time| time.as_millis() + 1).to_le_bytes());
        write_not_before(&mut content, event.not_before);
        if let Some(url) = &event.url {
            // No JSON begins with this byte, nor with those before the time.
            content.write(&[3]);
            write_text(&mut content, url);
        }
        write_key(&mut content, event.key.as_deref());
        write_content_type(&mut content, event.content_type.as_ref());
        content.write(&event.data);
        Some(IdRow { id: id.finish128().as_u128(), content: content.finish128().as_u128(), at, age })
    }

    /// The group of the event's deliveries that keep an order.
    pub(super) fn group(&self, event: &NewEvent) -> Group {
        let Some(key) = event.key.as_deref() else { return Group::KEYLESS };
        let mut hasher = self.hasher(3);
        write_text(&mut hasher, key);
        Group::of_hash(hasher.finish128().h1)
    }

    /// What is known of the id in `row`.
    pub(super) fn look_up(&self, row: &IdRow, tables: &mut Tables<'_>) -> Result<Known, StoreError> {
        let Some(seq) = self.map.get(&short(row)).copied() else { return Ok(Known::New) };
        let first = match tables.ids()?.get(seq.get())? {
            Some(bytes) => IdRow::decode(bytes.value()),
            None => None,
        };
        Ok(match first {
            Some(first) if first.id != row.id || row.age.since(first.age) > self.window.time => Known::New,
            Some(first) if first.content == row.content => Known::Duplicate(seq, first.at),
            Some(first) => Known::Conflict(seq, first.at),
            None => Known::New,
        })
    }

    /// Remembers the accepted event `seq`, and forgets at most two of the oldest that are outside the window.
    pub(super) fn insert(
        &mut self,
        seq: Seq,
        row: &IdRow,
        tables: &mut Tables<'_>,
    ) -> Result<(), StoreError> {
        tables.ids()?.insert(seq.get(), row.encode().as_slice())?;
        self.map.insert(short(row), seq);
        for _ in 0..2 {
            if !self.forget_oldest(row.age, tables)? {
                break;
            }
        }
        Ok(())
    }

    fn forget_oldest(&mut self, now: Timestamp, tables: &mut Tables<'_>) -> Result<bool, StoreError> {
        let entries = count(self.window.entries);
        let ids = tables.ids()?;
        let oldest = ids.first()?.map(|(seq, row)| (seq.value(), IdRow::decode(row.value())));
        let Some((seq, row)) = oldest else { return Ok(false) };
        let outside = row.as_ref().is_none_or(|row| now.since(row.age) > self.window.time);
        if !outside && ids.len()? <= entries {
            return Ok(false);
        }
        ids.remove(seq)?;
        if let Some(short) = row.as_ref().map(short)
            && self.map.get(&short) == Some(&Seq::new(seq))
        {
            self.map.remove(&short);
        }
        Ok(true)
    }

    fn hasher(&self, domain: u8) -> SipHasher24 {
        let mut hasher = SipHasher24::new_with_key(self.key.as_bytes());
        hasher.write(&[domain]);
        hasher
    }
}

fn count(entries: usize) -> u64 {
    u64::try_from(entries).unwrap_or(u64::MAX)
}

/// The map's key for a row.
pub(super) fn short(row: &IdRow) -> u64 {
    u64::try_from(row.id >> 64).expect("the upper half")
}

/// Length first, so that two texts cannot run into each other. The hashes are stored: nothing in them may depend on
/// the machine's integers.
fn write_text(hasher: &mut SipHasher24, text: &str) {
    hasher.write(&u64::try_from(text.len()).expect("a length fits").to_le_bytes());
    hasher.write(text.as_bytes());
}

/// As it was said: the same event handed in again later, with the same delay, is the same. Nothing is written for an
/// event without; no JSON begins with either of the bytes before the number.
fn write_not_before(hasher: &mut SipHasher24, not_before: Option<NotBefore>) {
    let (form, millis) = match not_before {
        None => return,
        Some(NotBefore::At(at)) => (1, at.as_millis()),
        Some(NotBefore::After(delay)) => (2, u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
    };
    hasher.write(&[form]);
    hasher.write(&millis.to_le_bytes());
}

/// Nothing is written for an event without one; neither a time nor JSON begins with the byte before it.
fn write_key(hasher: &mut SipHasher24, key: Option<&str>) {
    if let Some(key) = key {
        hasher.write(&[4]);
        write_text(hasher, key);
    }
}

/// Nothing is written for JSON, and no JSON begins with a byte 0. What is something else may begin with any byte, but comes
/// after this one.
fn write_content_type(hasher: &mut SipHasher24, content_type: Option<&ContentType>) {
    if let Some(content_type) = content_type {
        hasher.write(&[0]);
        write_text(hasher, content_type.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_is_full_holds_as_long_as_its_oldest_is_old() {
        let window = |entries| Window { time: Duration::from_secs(100), entries };
        let now = Timestamp::from_millis(1_000_000);
        let since = |seconds: u64| Some(Timestamp::from_millis(1_000_000 - seconds * 1_000));
        for (entries, ids, oldest, held) in [
            (3, 0, None, 100_u64),
            (3, 2, since(10), 100),
            (3, 3, since(10), 10),
            (3, 4, since(10), 10),
            // What is older is known no more, even where it is not forgotten yet.
            (3, 3, since(200), 100),
            (0, 0, None, 0),
        ] {
            let found = window(entries).held(Remembered { ids, oldest }, now);
            assert_eq!(found, Duration::from_secs(held), "{entries} {ids} {oldest:?}");
        }
    }

    /// The hashes are in the file: a store must know its ids whatever machine or compiler comes next.
    #[test]
    fn hashes_stay_as_they_are() {
        let window = Window { time: Duration::ZERO, entries: 0 };
        let dedup = Dedup::new(IdKey::new(*b"sixteen bytes ok"), window);
        let mut event = NewEvent {
            producer_id: Some("p-1".to_owned()),
            time: Some(Timestamp::from_millis(7)),
            ..NewEvent::new(
                "box".parse().expect("an account"),
                "a.b".parse().expect("a type"),
                b"{}".as_slice().into(),
            )
        };
        let row = dedup.row(&event, (Timestamp::EPOCH, Timestamp::EPOCH)).expect("it has an id");
        assert_eq!(row.id, 215_555_289_995_443_262_185_430_907_017_088_262_458);
        assert_eq!(row.content, 158_420_657_387_656_528_712_321_484_221_663_563_459);
        let (at, delay) = (Timestamp::from_millis(7), Duration::from_millis(7));
        let mut contents = vec![row.content];
        for not_before in [NotBefore::At(at), NotBefore::After(delay), NotBefore::After(delay * 2)] {
            event.not_before = Some(not_before);
            contents
                .push(dedup.row(&event, (Timestamp::EPOCH, Timestamp::EPOCH)).expect("it has an id").content);
        }
        assert_eq!(
            contents[1..3],
            [
                331_464_029_303_936_653_775_320_458_330_551_511_690,
                285_754_008_681_435_724_071_234_183_587_659_523_724
            ]
        );
        event.not_before = None;
        for key in ["k", "kk"] {
            event.key = Some(key.to_owned());
            contents
                .push(dedup.row(&event, (Timestamp::EPOCH, Timestamp::EPOCH)).expect("it has an id").content);
        }
        assert_eq!(contents[4], 64_411_531_309_209_519_405_863_361_928_646_736_355);
        contents.sort_unstable();
        contents.dedup();
        assert_eq!(contents.len(), 6, "each is another content");
        assert_eq!(dedup.group(&event).get(), 9_387_601_863_990_850_741);
        event.key = None;
        assert_eq!(dedup.group(&event), Group::KEYLESS);
        for content_type in ["application/pdf", "a/b"] {
            event.content_type = Some(content_type.parse().expect("a content type"));
            let other =
                dedup.row(&event, (Timestamp::EPOCH, Timestamp::EPOCH)).expect("it has an id").content;
            assert!(!contents.contains(&other), "{content_type}");
            contents.push(other);
        }
        assert_eq!(
            contents[6..],
            [
                204_224_536_896_889_621_069_608_486_367_997_275_282,
                278_678_580_439_343_494_336_642_517_143_990_963_835
            ]
        );
        event.content_type = None;
        event.time = None;
        let other = dedup.row(&event, (Timestamp::EPOCH, Timestamp::EPOCH)).expect("it has an id");
        assert_eq!(other.id, row.id);
        assert_ne!(other.content, row.content);
        event.uid = Some(7);
        let same = dedup.row(&event, (Timestamp::EPOCH, Timestamp::EPOCH)).expect("it has an id");
        assert_eq!(same, other, "whoever hands it in, it is the same event");
        event.producer_id = None;
        assert_eq!(dedup.row(&event, (Timestamp::EPOCH, Timestamp::EPOCH)), None);
    }

    #[test]
    fn texts_do_not_run_into_each_other() {
        let dedup = Dedup::new(IdKey::new([0; 16]), Window { time: Duration::ZERO, entries: 0 });
        let row = |account: &str, producer_id: &str, event_type: &str, data: &'static [u8]| {
            let event = NewEvent {
                producer_id: Some(producer_id.to_owned()),
                ..NewEvent::new(
                    account.parse().expect("an account"),
                    event_type.parse().expect("a type"),
                    data.into(),
                )
            };
            dedup.row(&event, (Timestamp::EPOCH, Timestamp::EPOCH)).expect("it has an id")
        };
        assert_ne!(row("ab", "c", "a", b"").id, row("a", "bc", "a", b"").id);
        assert_ne!(row("a", "b", "ab", b"c").content, row("a", "b", "a", b"bc").content);
    }
}
