//! What the store keeps of the clocks: one row of `meta`, and the times of its newest rows.

use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::{
    error::StoreError,
    record::{decode_attempt, decode_event, read_six, six},
    schema::{ATTEMPTS, EVENTS, META, meta},
};
use crate::model::{
    event::Seq,
    time::{Mark, Timestamp},
};

/// What is known of the clocks of those who had the store before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// The last mark; `None`: nobody has left one.
    pub mark: Option<Mark>,
    /// The latest time of the newest rows, which may be younger than the mark.
    pub seen: Timestamp,
}

impl Clocks {
    /// What the wall clock says at a time of the schedule, as far as the last mark knows.
    pub fn wall_of(&self, schedule: Timestamp) -> Timestamp {
        let Some(mark) = self.mark else { return schedule };
        let (ahead, behind) = (schedule.since(mark.schedule), mark.schedule.since(schedule));
        if behind.is_zero() {
            return mark.wall.plus(ahead);
        }
        let behind = u64::try_from(behind.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(mark.wall.as_millis().saturating_sub(behind))
    }
}

/// Reads it; rows that are not as they should be say nothing.
pub(super) fn read(txn: &ReadTransaction) -> Result<Clocks, StoreError> {
    let mark = txn.open_table(META)?.get(meta::CLOCK)?.and_then(|row| decode(row.value()));
    let (events, attempts) = (txn.open_table(EVENTS)?, txn.open_table(ATTEMPTS)?);
    let event = events.last()?.and_then(|(seq, row)| decode_event(Seq::new(seq.value()), row.value()));
    let attempt = attempts.last()?.and_then(|(_, row)| decode_attempt(row.value()));
    let times = event
        .map(|event| event.accepted_at)
        .into_iter()
        .chain(attempt.map(|attempt| attempt.report.started_at));
    Ok(Clocks { mark, seen: times.max().unwrap_or_default() })
}

/// Puts a mark into the transaction.
pub(super) fn write(mark: &Mark, txn: &WriteTransaction) -> Result<(), StoreError> {
    txn.open_table(META)?.insert(meta::CLOCK, encode(mark).as_slice())?;
    Ok(())
}

fn encode(mark: &Mark) -> [u8; 18] {
    let mut row = [0; 18];
    let times = [mark.schedule, mark.wall, mark.greatest];
    for (place, time) in row.as_chunks_mut::<6>().0.iter_mut().zip(times) {
        *place = six(time.as_millis());
    }
    row
}

pub(super) fn decode(row: &[u8]) -> Option<Mark> {
    let row: &[u8; 18] = row.try_into().ok()?;
    let [schedule, wall, greatest] = [0, 6, 12].map(|from| {
        let six = row[from..from + 6].try_into().expect("six bytes");
        Timestamp::from_millis(read_six(six))
    });
    Some(Mark { schedule, wall, greatest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_goes_there_and_back() {
        let mark =
            Mark { schedule: Timestamp::from_millis(7), wall: Timestamp::RELEASED, greatest: Timestamp::MAX };
        let row = encode(&mark);
        assert_eq!(row[..6], [0, 0, 0, 0, 0, 7]);
        assert_eq!(decode(&row), Some(mark));
        assert_eq!(decode(&row[1..]), None);
    }
}
